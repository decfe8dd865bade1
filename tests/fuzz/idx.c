// idx.c: libFuzzer's target for files of the MNIST family: the input as labels and as images, plain
// and compressed.
#include "../../runtime/idx.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

struct result {
  bool ok;
  struct bt_idx idx;
  size_t bytes;
};

static struct result read_file(struct fuzz_file f, int rank) {
  char err[512] = "";
  struct result r = {.bytes = 1};
  r.ok = bt_idx_read(FUZZ_FOLDER, f.name, rank, &r.idx, err, sizeof err);
  fuzz_expect(r.ok ? r.idx.data && r.idx.rank == rank : !r.idx.data && strlen(err) > 0);
  for (int i = 0; r.ok && i < rank; i++)
    fuzz_expect(r.idx.shape[i] > 0), r.bytes *= (size_t)r.idx.shape[i];
  return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  bool compressed = size >= 2 && data[0] == 0x1f && data[1] == 0x8b;
  for (int rank = 1; rank <= 3; rank += 2) {
    struct result plain = read_file(fuzz_file(data, size), rank),
                  gzip = read_file(fuzz_gzip(data, size), rank);
    if (!compressed) fuzz_expect(plain.ok == gzip.ok);
    if (plain.ok && gzip.ok)
      fuzz_expect(plain.bytes == gzip.bytes &&
                  memcmp(plain.idx.data, gzip.idx.data, plain.bytes) == 0);
    free(plain.idx.data), free(gzip.idx.data);
  }
  return 0;
}
