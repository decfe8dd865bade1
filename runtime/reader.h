// reader.h: reading a file from its beginning to its end, plain or gzip, without trusting it.
//
// zlib reads both kinds alike. Memory grows with what is really there, so a header that promises
// too much cannot make us allocate it.
#ifndef BT_READER_H
#define BT_READER_H

#include "btrt_internal.h"

#include <zlib.h>

struct bt_reader {
  char path[4096];
  gzFile file;
  char *err;
  size_t errlen;
};
#define BT_READER_FAIL(r, format, ...) \
  bt_fail((r)->err, (r)->errlen, "%s: " format, (r)->path __VA_OPT__(, ) __VA_ARGS__)

// Is there a folder/name or folder/name.gz?
bool bt_reader_exists(const char *folder, const char *name);
// Opens folder/name, else folder/name.gz. err and errlen must be set; what fails later names the
// path.
bool bt_reader_open(struct bt_reader *r, const char *folder, const char *name);
void bt_reader_close(struct bt_reader *r);

// Up to n bytes; *got says how many there were. False: the file is damaged (or cannot be read).
bool bt_reader_some(struct bt_reader *r, void *to, uint64_t n, uint64_t *got);
// Exactly n bytes of a header.
bool bt_reader_header(struct bt_reader *r, void *to, uint64_t n);
// Exactly n bytes, and then the end of the file; free() them. NULL on failure.
void *bt_reader_rest(struct bt_reader *r, uint64_t n);
// All that is left, *n bytes; free() them. NULL on failure.
void *bt_reader_all(struct bt_reader *r, uint64_t *n);

// The bytes of an array, of which each axis must have at least one element and all fit in memory's
// address space. False after a message.
bool bt_reader_bytes(struct bt_reader *r, int rank, const int64_t *shape, size_t element,
                     uint64_t *bytes);

#endif
