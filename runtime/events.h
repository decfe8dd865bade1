// events.h: event files of TensorBoard, of scalars.
//
// A file is a row of records: u64 length, masked CRC-32C of it, the bytes, masked CRC-32C of them,
// all little-endian (TensorFlow's tensorflow/core/lib/io/record_writer.h). The bytes are an Event
// of tensorflow/core/util/event.proto: wall_time, step, and a file's version, a session's start or
// a scalar.
#ifndef BT_EVENTS_H
#define BT_EVENTS_H

#include "btrt_internal.h"

// Begins folder/events.out.tfevents.<unix time>.<host>.<process>.0. The steps that follow are above
// first_step: TensorBoard, which reads a folder's files as one, forgets what earlier files say of
// them. NULL with err if the file cannot be made. Close with bt_events_close.
struct bt_events *bt_events_open(const char *folder, int64_t first_step, char *err, size_t errlen);
void bt_events_close(struct bt_events *events); // NULL is fine

// One point of the curve `tag` ("train/loss": a slash makes a group), in memory until the next
// flush. events may be NULL: then there is none to write to. The file has floats: what f32 cannot
// hold is rounded.
void bt_events_scalar(struct bt_events *events, int64_t step, const char *tag, double value);
// False with err where something since the last flush could not be written. It is lost, and the
// file ends where it ended before: later points follow if there is room again. True for NULL.
bool bt_events_flush(struct bt_events *events, char *err, size_t errlen);

uint32_t bt_crc32c(const void *data, size_t n); // of RFC 3720, B.4

#endif
