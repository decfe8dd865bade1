// event_file.c: see event_file.h.
#include "event_file.h"
#include "events.h"

#include <string.h>

// ---- protocol buffers -------------------------------------------------------------------------

struct field {
  uint64_t number, value; // of a varint or of fixed bytes
  int wire;
  const unsigned char *bytes; // of wire type 2, `value` of them
};

static uint64_t little_endian(const unsigned char *p, int bytes) {
  uint64_t value = 0;
  for (int i = bytes - 1; i >= 0; i--) value = value << 8 | p[i];
  return value;
}

static bool take_varint(const unsigned char **at, const unsigned char *end, uint64_t *value) {
  *value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (*at == end) return false;
    unsigned char byte = *(*at)++;
    *value |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) return true;
  }
  return false;
}

static bool take_bytes(const unsigned char **at, const unsigned char *end, uint64_t n) {
  if (n > (uint64_t)(end - *at)) return false;
  *at += n;
  return true;
}

static bool take_fixed(const unsigned char **at, const unsigned char *end, int bytes,
                       uint64_t *value) {
  const unsigned char *from = *at;
  return take_bytes(at, end, (uint64_t)bytes) && (*value = little_endian(from, bytes), true);
}

// The next field of the message that ends at `end`; false: it is damaged.
static bool take_field(const unsigned char **at, const unsigned char *end, struct field *f) {
  uint64_t key;
  if (!take_varint(at, end, &key)) return false;
  *f = (struct field){.number = key >> 3, .wire = key & 7};
  switch (f->wire) {
  case 0: return take_varint(at, end, &f->value);
  case 1: return take_fixed(at, end, 8, &f->value);
  case 2:
    if (!take_varint(at, end, &f->value)) return false;
    f->bytes = *at;
    return take_bytes(at, end, f->value);
  case 5: return take_fixed(at, end, 4, &f->value);
  default: return false;
  }
}

typedef void visit_field(const struct field *f, struct event *e, bool *ok);

static bool read_message(const unsigned char *at, uint64_t n, visit_field *visit, struct event *e) {
  const unsigned char *end = at + n;
  bool ok = true;
  for (struct field f; ok && at < end;)
    if ((ok = take_field(&at, end, &f))) visit(&f, e, &ok);
  return ok;
}

// ---- the messages, by event.proto and summary.proto -------------------------------------------

static void set_text(const struct field *f, struct event *e) {
  e->text = (const char *)f->bytes, e->length = (size_t)f->value;
}

static void visit_value(const struct field *f, struct event *e, bool *ok) {
  uint32_t bits = (uint32_t)f->value;
  (void)ok;
  if (f->number == 1 && f->wire == 2) set_text(f, e);
  if (f->number == 2 && f->wire == 5)
    e->kind = EVENT_IS_SCALAR, memcpy(&e->value, &bits, sizeof bits);
}

static void visit_summary(const struct field *f, struct event *e, bool *ok) {
  if (f->number == 1 && f->wire == 2) *ok = read_message(f->bytes, f->value, visit_value, e);
}

static void visit_session(const struct field *f, struct event *e, bool *ok) {
  (void)ok;
  if (f->number == 1 && f->wire == 0 && f->value == 1) e->kind = EVENT_IS_START;
}

static void visit_event(const struct field *f, struct event *e, bool *ok) {
  if (f->number == 1 && f->wire == 1) memcpy(&e->wall_time, &f->value, sizeof f->value);
  if (f->number == 2 && f->wire == 0) e->step = (int64_t)f->value;
  if (f->number == 3 && f->wire == 2) e->kind = EVENT_IS_VERSION, set_text(f, e);
  if (f->number == 5 && f->wire == 2) *ok = read_message(f->bytes, f->value, visit_summary, e);
  if (f->number == 7 && f->wire == 2) *ok = read_message(f->bytes, f->value, visit_session, e);
}

// ---- records ----------------------------------------------------------------------------------

static bool is_checksum(const unsigned char *at, const unsigned char *of, size_t n) {
  uint32_t masked = (uint32_t)little_endian(at, 4) - 0xa282ead8, crc = masked >> 17 | masked << 15;
  return crc == bt_crc32c(of, n);
}

enum event_status event_next(struct event_file *file, struct event *event) {
  const unsigned char *at = file->data + file->at;
  size_t left = file->n - file->at;
  *event = (struct event){0};
  if (left == 0) return EVENT_END;
  if (left < 16 || !is_checksum(at + 8, at, 8)) return EVENT_TORN;
  uint64_t n = little_endian(at, 8);
  if (n > left - 16 || !is_checksum(at + 12 + n, at + 12, n)) return EVENT_TORN;
  if (!read_message(at + 12, n, visit_event, event)) return EVENT_BAD;
  file->at += 16 + (size_t)n;
  return EVENT_READ;
}
