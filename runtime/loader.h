// loader.h: threads that prepare batches ahead of the steps that read them.
//
// A program and its passes share one loader. Its threads sleep until a stream is started; then they
// fill, batch by batch in the stream's order, as many slots as are free, and sleep again. All of a
// batch that comes from data lies in its slot: images, views, labels, arrays, and the key of random
// sites. What it holds follows from (seed, step, example, site), never from the number of threads.
//
// One thread calls these functions; a stream may be stopped or replaced at any time.
#ifndef BT_LOADER_H
#define BT_LOADER_H

#include "session.h"

struct bt_loader;

// What is loaded: the batches of steps first … end-1.
struct bt_stream {
  struct bt_session *session; // of the program or of one of its passes
  const struct bt_split *split;
  // Writes which examples of the split make the batch of a step (program->batch of them). Called by
  // the loader's threads, by one at a time, once for every step, in order.
  void (*order)(void *user, int64_t step, uint32_t *index);
  void *user;
  uint64_t seed;
  int64_t first, end, steps_per_epoch; // a view is drawn for the epoch step / steps_per_epoch
};

// A loader for s and its passes; they must outlive it. NULL with err where memory or threads are
// out.
struct bt_loader *bt_loader_new(const struct bt_session *s, int threads, char *err, size_t errlen);
void bt_loader_free(struct bt_loader *l); // stops it first

// Ends the stream that there was, and begins with this one.
void bt_loader_start(struct bt_loader *l, const struct bt_stream *stream);
// Waits for the next batch and makes it the inputs of the stream's session, until the next call.
// False with err where an example of it cannot be loaded, and from then on. Call it end - first
// times at most.
bool bt_loader_next(struct bt_loader *l, char *err, size_t errlen);
// Ends the stream; when it returns, nothing is read or written any more, and `user` may go.
void bt_loader_stop(struct bt_loader *l);

// Whether a loader writes inputs of this kind (the others: bt_session_count, passes).
bool bt_loader_writes(enum bt_input_kind kind);
// Of the slots of a loader for s, in bytes.
size_t bt_loader_bytes(const struct bt_session *s);

#endif
