// npy.c: libFuzzer's target for NumPy's files: the input as a file, and as the text of a header (to
// the first NUL) with the elements behind it, plain and compressed.
#include "../../runtime/btrt_internal.h"
#include "../../runtime/npy.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

static struct bt_npy read_file(struct fuzz_file f, size_t *bytes) {
  char err[512] = "";
  struct bt_npy a;
  bool ok = bt_npy_read(FUZZ_FOLDER, f.name, &a, err, sizeof err);
  fuzz_expect(ok == (a.data != NULL) && (ok || *err));
  *bytes = ok ? (size_t)bt_count(a.rank, a.shape) * bt_dtype_size(a.dtype) : 0;
  return a;
}

static void try(const uint8_t *data, size_t size) {
  bool compressed = size >= 2 && data[0] == 0x1f && data[1] == 0x8b;
  size_t n, m;
  struct bt_npy plain = read_file(fuzz_file(data, size), &n),
                gzip = read_file(fuzz_gzip(data, size), &m);
  if (!compressed) fuzz_expect(n == m && (!n || memcmp(plain.data, gzip.data, n) == 0));
  free(plain.data), free(gzip.data);
}

static void try_header(const uint8_t *data, size_t size) {
  const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
  size_t header = nul ? (size_t)(nul - data) : size, behind = nul ? header + 1 : header;
  uint8_t *file = bt_xcalloc(size + 10, 1);
  memcpy(file, "\x93NUMPY\1\0", 8);
  file[8] = (uint8_t)header, file[9] = (uint8_t)(header >> 8);
  memcpy(file + 10, data, header);
  memcpy(file + 10 + header, data + behind, size - behind);
  try(file, 10 + header + size - behind);
  free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  try(data, size);
  try_header(data, size);
  return 0;
}
