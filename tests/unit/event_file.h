// event_file.h: reads what runtime/events.c writes, for its tests and for fuzzing; it trusts
// nothing.
#ifndef EVENT_FILE_H
#define EVENT_FILE_H

#include <stddef.h>
#include <stdint.h>

struct event_file {
  const unsigned char *data;
  size_t n, at; // bytes; where the next record begins
};
struct event {
  double wall_time;
  int64_t step;
  enum { EVENT_IS_OTHER, EVENT_IS_VERSION, EVENT_IS_START, EVENT_IS_SCALAR } kind;
  const char *text; // version or tag, in the file: no NUL ends it
  size_t length;
  float value;
};
enum event_status {
  EVENT_READ,
  EVENT_END,  // of the file, behind a whole record
  EVENT_TORN, // the last record is not whole, or damaged: readers stop
  EVENT_BAD,  // a whole record that is no Event
};
enum event_status event_next(struct event_file *file, struct event *event);

#endif
