// events.c: libFuzzer's target for event files: the input as a file, as one record whose checksums
// are right, and as the points of a curve that must come back as they were written.
#include "../../runtime/events.h"
#include "../unit/event_file.h"
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void read_all(const uint8_t *data, size_t size) {
  struct event_file f = {data, size, 0};
  volatile unsigned char sum = 0;
  for (struct event e; event_next(&f, &e) == EVENT_READ;)
    for (size_t i = 0; i < e.length; i++)
      sum += (unsigned char)e.text[i]; // all of it must be there
}

static void put_checksum(uint8_t *to, const uint8_t *data, size_t size) {
  uint32_t crc = bt_crc32c(data, size), masked = (crc >> 15 | crc << 17) + 0xa282ead8;
  for (int i = 0; i < 4; i++) to[i] = (uint8_t)(masked >> 8 * i);
}

static void read_record(const uint8_t *data, size_t size) {
  uint8_t *record = bt_xcalloc(size + 16, 1);
  for (int i = 0; i < 8; i++) record[i] = (uint8_t)((uint64_t)size >> 8 * i);
  put_checksum(record + 8, record, 8);
  memcpy(record + 12, data, size);
  put_checksum(record + 12 + size, data, size);
  read_all(record, size + 16);
  free(record);
}

// ---- written and read -------------------------------------------------------------------------

// A point of the input: 8 bytes of the step, 4 of the value, and the tag's length and letters.
struct point {
  int64_t step;
  float value;
  size_t length;
  char tag[256];
};

static bool next_point(const uint8_t **at, size_t *left, struct point *p) {
  *p = (struct point){0};
  if (*left < 13) return false;
  memcpy(&p->step, *at, 8), memcpy(&p->value, *at + 8, 4);
  size_t length = (*at)[12];
  *at += 13, *left -= 13;
  if (length > *left) length = *left;
  memcpy(p->tag, *at, length);
  p->length = strlen(p->tag);
  *at += length, *left -= length;
  return true;
}

static char folder[300];
static void remove_folder(void) { rmdir(folder); }

static void make_folder(void) {
  const char *base = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%s/btrt-events-XXXXXX", base ? base : "/tmp");
  fuzz_expect(mkdtemp(folder) != NULL);
  atexit(remove_folder);
}

// The only file of the folder, which is removed.
static uint8_t *take_file(size_t *size) {
  DIR *d = opendir(folder);
  struct dirent *entry = readdir(d);
  while (entry && entry->d_name[0] == '.') entry = readdir(d);
  fuzz_expect(entry != NULL);
  char path[600];
  snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
  closedir(d);
  FILE *f = fopen(path, "rb");
  fuzz_expect(f != NULL && fseek(f, 0, SEEK_END) == 0);
  *size = (size_t)ftell(f);
  rewind(f);
  uint8_t *data = bt_xcalloc(*size, 1);
  fuzz_expect(fread(data, 1, *size, f) == *size);
  fclose(f);
  unlink(path);
  return data;
}

static void write_and_read(const uint8_t *data, size_t size) {
  char err[512];
  if (!*folder) make_folder();
  struct bt_events *w = bt_events_open(folder, 0, err, sizeof err);
  fuzz_expect(w != NULL);
  struct point p;
  const uint8_t *at = data;
  for (size_t left = size; next_point(&at, &left, &p);)
    bt_events_scalar(w, p.step, p.tag, (double)p.value);
  fuzz_expect(bt_events_flush(w, err, sizeof err));
  bt_events_close(w);
  struct event_file f = {0};
  struct event e;
  f.data = take_file(&f.n);
  fuzz_expect(event_next(&f, &e) == EVENT_READ && e.kind == EVENT_IS_VERSION);
  fuzz_expect(event_next(&f, &e) == EVENT_READ && e.kind == EVENT_IS_START && e.step == 1);
  at = data;
  for (size_t left = size; next_point(&at, &left, &p);) {
    fuzz_expect(event_next(&f, &e) == EVENT_READ && e.kind == EVENT_IS_SCALAR && e.step == p.step);
    fuzz_expect(e.length == p.length && memcmp(e.text, p.tag, p.length) == 0);
    fuzz_expect(memcmp(&e.value, &p.value, sizeof p.value) == 0 ||
                (e.value != e.value && p.value != p.value));
  }
  fuzz_expect(event_next(&f, &e) == EVENT_END);
  free((void *)f.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  read_all(data, size);
  read_record(data, size);
  write_and_read(data, size);
  return 0;
}
