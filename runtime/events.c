// events.c: see events.h.
//
// A reader stops at the first record that is torn, so none but the last may ever be: records are
// collected in memory and written together, and what a full disk left of them is cut off again.
#define _GNU_SOURCE
#include "events.h"
#include "replace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TAG_ROOM = 1024, RECORD_ROOM = TAG_ROOM + 128, PENDING_ROOM = 16 * RECORD_ROOM };

struct bt_events {
  char *path;
  int fd;
  int64_t written; // bytes of whole records in the file
  int error;       // errno of what was lost since the last flush, or 0
  size_t n;        // of pending
  unsigned char pending[PENDING_ROOM];
};

// ---- checksums --------------------------------------------------------------------------------

uint32_t bt_crc32c(const void *data, size_t n) {
  static const uint32_t of_nibble[16] = {// by the polynomial 0x82f63b78, bits reversed
                                         0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
                                         0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
                                         0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                         0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
  const unsigned char *p = data;
  uint32_t crc = 0xffffffff;
  for (size_t i = 0; i < n; i++) {
    crc ^= p[i];
    crc = crc >> 4 ^ of_nibble[crc & 15];
    crc = crc >> 4 ^ of_nibble[crc & 15];
  }
  return ~crc;
}

// As in record_writer.h: a checksum of bytes that themselves hold checksums would be a weak one.
static uint32_t masked_crc32c(const void *data, size_t n) {
  uint32_t crc = bt_crc32c(data, n);
  return (crc >> 15 | crc << 17) + 0xa282ead8;
}

// ---- messages of protocol buffers -------------------------------------------------------------

// A message under construction. Each field begins with its number and the kind of what follows.
struct message {
  size_t n;
  unsigned char bytes[RECORD_ROOM];
};
enum wire { VARINT, FIXED64, BYTES, FIXED32 = 5 };

// The numbers of fields that are written (event.proto, summary.proto).
enum {
  EVENT_WALL_TIME = 1,
  EVENT_STEP = 2,
  EVENT_FILE_VERSION = 3,
  EVENT_SUMMARY = 5,
  EVENT_SESSION_LOG = 7
};
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SIMPLE = 2, SESSION_STATUS = 1, SESSION_START = 1 };

static void put_bytes(struct message *m, const void *data, size_t n) {
  if (n > sizeof m->bytes - m->n) bt_die("a record of more than %zu bytes", sizeof m->bytes);
  memcpy(m->bytes + m->n, data, n);
  m->n += n;
}

static void put_little_endian(struct message *m, uint64_t value, int bytes) {
  unsigned char out[8];
  for (int i = 0; i < bytes; i++) out[i] = (unsigned char)(value >> 8 * i);
  put_bytes(m, out, (size_t)bytes);
}

static void put_varint(struct message *m, uint64_t value) {
  for (; value > 127; value >>= 7) put_bytes(m, &(unsigned char){(unsigned char)(value | 128)}, 1);
  put_bytes(m, &(unsigned char){(unsigned char)value}, 1);
}

static void put_key(struct message *m, int field, enum wire wire) {
  put_varint(m, (uint64_t)field << 3 | wire);
}

static void put_number(struct message *m, int field, uint64_t value) {
  put_key(m, field, VARINT);
  put_varint(m, value);
}

static void put_double(struct message *m, int field, double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  put_key(m, field, FIXED64);
  put_little_endian(m, bits, 8);
}

static void put_float(struct message *m, int field, float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  put_key(m, field, FIXED32);
  put_little_endian(m, bits, 4);
}

static void put_field(struct message *m, int field, const void *data, size_t n) {
  put_key(m, field, BYTES);
  put_varint(m, n);
  put_bytes(m, data, n);
}

static void put_message(struct message *m, int field, const struct message *inner) {
  put_field(m, field, inner->bytes, inner->n);
}

// ---- records ----------------------------------------------------------------------------------

static void write_pending(struct bt_events *e) {
  if (bt_write_all(e->fd, e->pending, e->n)) {
    e->written += (int64_t)e->n;
  } else {
    e->error = errno;
    if (ftruncate(e->fd, e->written) != 0) { /* then a reader stops here */
    }
  }
  e->n = 0;
}

// Of an Event that has its fields but for the time.
static void add_record(struct bt_events *e, struct message *event) {
  struct timespec now;
  struct message record = {0};
  clock_gettime(CLOCK_REALTIME, &now);
  put_double(event, EVENT_WALL_TIME, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec);
  put_little_endian(&record, event->n, 8);
  put_little_endian(&record, masked_crc32c(record.bytes, 8), 4);
  put_bytes(&record, event->bytes, event->n);
  put_little_endian(&record, masked_crc32c(event->bytes, event->n), 4);
  if (record.n > sizeof e->pending - e->n) write_pending(e);
  memcpy(e->pending + e->n, record.bytes, record.n);
  e->n += record.n;
}

static void add_version(struct bt_events *e) {
  static const char version[] = "brain.Event:2"; // with it TensorBoard heeds the starts of sessions
  struct message event = {0};
  put_field(&event, EVENT_FILE_VERSION, version, sizeof version - 1);
  add_record(e, &event);
}

// The run was perhaps killed after its checkpoint. TensorBoard drops the points it has from this
// step on.
static void add_start(struct bt_events *e, int64_t step) {
  struct message event = {0}, session = {0};
  put_number(&session, SESSION_STATUS, SESSION_START);
  put_number(&event, EVENT_STEP, (uint64_t)step);
  put_message(&event, EVENT_SESSION_LOG, &session);
  add_record(e, &event);
}

void bt_events_scalar(struct bt_events *e, int64_t step, const char *tag, double value) {
  struct message event = {0}, summary = {0}, scalar = {0};
  if (!e) return;
  put_field(&scalar, VALUE_TAG, tag, strnlen(tag, TAG_ROOM));
  put_float(&scalar, VALUE_SIMPLE, (float)value);
  put_message(&summary, SUMMARY_VALUE, &scalar);
  put_number(&event, EVENT_STEP, (uint64_t)step);
  put_message(&event, EVENT_SUMMARY, &summary);
  add_record(e, &event);
}

bool bt_events_flush(struct bt_events *e, char *err, size_t errlen) {
  if (!e) return true;
  write_pending(e);
  int error = e->error;
  e->error = 0;
  return error == 0 || bt_fail(err, errlen, "cannot write %s: %s", e->path, strerror(error));
}

// ---- files ------------------------------------------------------------------------------------

#define PREFIX "events.out.tfevents."

// TensorBoard reads the files of a folder in the order of their names: a time that no file there
// has reached.
static int64_t next_time(const char *folder) {
  int64_t latest = (int64_t)time(NULL), other;
  DIR *d = opendir(folder);
  for (struct dirent *entry; d && (entry = readdir(d));)
    if (sscanf(entry->d_name, PREFIX "%10" SCNd64 ".", &other) == 1 && other >= latest)
      latest = other + 1;
  if (d) closedir(d);
  return latest;
}

static char *new_path(const char *folder) {
  char host[256] = "", *path;
  if (gethostname(host, sizeof host - 1) != 0 || !*host || strchr(host, '/'))
    strcpy(host, "localhost");
  if (asprintf(&path, "%s/" PREFIX "%010" PRId64 ".%s.%ld.0", folder, next_time(folder), host,
               (long)getpid()) < 0)
    bt_die("out of memory");
  return path;
}

struct bt_events *bt_events_open(const char *folder, int64_t first_step, char *err, size_t errlen) {
  struct bt_events *e = bt_xcalloc(1, sizeof *e);
  e->path = new_path(folder);
  e->fd = open(e->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
  if (e->fd < 0) {
    bt_fail(err, errlen, "cannot write %s: %s", e->path, strerror(errno));
    return bt_events_close(e), NULL;
  }
  add_version(e);
  add_start(e, first_step + 1);
  return e;
}

void bt_events_close(struct bt_events *e) {
  if (!e) return;
  if (e->fd >= 0) close(e->fd);
  free(e->path), free(e);
}
