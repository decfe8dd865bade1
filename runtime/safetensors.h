// safetensors.h: named tensors in a file (https://huggingface.co/docs/safetensors).
//
// A file is an 8-byte little-endian header length, a JSON header, and the tensors' bytes. The
// reader trusts nothing: every tensor must lie inside the file, have the size that its shape and
// dtype say, and touch neither another tensor nor a gap. The writer replaces a file whole or not at
// all.
#ifndef BT_SAFETENSORS_H
#define BT_SAFETENSORS_H

#include "btrt.h"

struct st_tensor {
  const char *name;
  enum bt_dtype dtype;
  int rank;
  int64_t shape[BT_MAX_RANK]; // row-major, dense
  const void *data;           // from st_open: aligned to BT_ALIGN, owned by the file
};
struct st_entry {
  const char *key, *value;
}; // of __metadata__

// The bytes of a tensor's data.
size_t st_bytes(const struct st_tensor *tensor);

// Reads a whole file. Where the header has the checksum that st_write stores, it is verified.
// NULL with one sentence in err on failure. Close with st_close.
struct st_file *st_open(const char *path, char *err, size_t errlen);
void st_close(struct st_file *file); // NULL is fine

int st_count(const struct st_file *file);
const struct st_tensor *st_at(const struct st_file *file, int i); // in the header's order
const struct st_tensor *st_find(const struct st_file *file, const char *name); // or NULL
const char *st_metadata(const struct st_file *file, const char *key);          // or NULL

// Writes tensors, metadata and a checksum to a temporary file beside `path`, flushes it to the
// disk, and renames it over `path`; on failure `path` is as it was. A `path` that is not a regular
// file (a pipe, /dev/stdout) is written directly.
bool st_write(const char *path, const struct st_tensor *tensors, int n,
              const struct st_entry *metadata, int n_metadata, char *err, size_t errlen);

// In __metadata__: CRC-32 of the whole header, these digits being 0, and the tensors' bytes after
// it.
#define ST_CHECKSUM_KEY "btc.crc32"
#define ST_CHECKSUM_DIGITS 8 // hexadecimal

#endif
