// watch.h: watches a step kernel by kernel, and names who made a value that is not finite.
//
// After each kernel the watch looks at what it wrote. Where that holds a NaN, or else an infinity,
// the kernel's formula says of which op it is, or of which operand; of that it is known who wrote
// it. So in the end the value in question (the loss, a parameter) is followed to its beginning, and
// what is not finite for a good reason
// (-inf in a mask) and never reaches it is not named.
#ifndef BT_WATCH_H
#define BT_WATCH_H

#include "session.h"

struct bt_watch;
struct bt_watch *bt_watch_new(const struct bt_session *s); // bt_watch_free it
void bt_watch_free(struct bt_watch *w);

void bt_watch_step(struct bt_watch *w); // bt_session_step, watched

// What to explain after it: an output, or if that is -1 a tensor of the module.
struct bt_watched_value {
  int output, tensor;
};
struct bt_named_op {
  const char *op, *layer, *place;
}; // "log", "encoder.head@a", "model.btg:23"; NULL: not known
struct bt_finding {
  struct bt_named_op first, infinity; // the second: of which a NaN was made
  char text[2000]; // for people: "log(-0.25) = nan, at model.btg:23 in …", and lines below it
};
// Who made the value, which is not finite after the step that was watched last.
void bt_watch_explain(struct bt_watch *w, struct bt_watched_value value,
                      struct bt_finding *finding);

#endif
