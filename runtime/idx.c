// idx.c: see idx.h.
#include "idx.h"
#include "reader.h"

static bool read_header(struct bt_reader *r, int rank, struct bt_idx *idx) {
  unsigned char header[4 + 4 * 4];
  if (!bt_reader_header(r, header, 4 + 4 * (uint64_t)rank)) return false;
  if (header[0] || header[1] || header[2] != 8 || header[3] != rank)
    return BT_READER_FAIL(
        r,
        "wrong magic number %02x%02x%02x%02x; an IDX file of bytes with %d ax%ss begins with "
        "000008%02x",
        header[0], header[1], header[2], header[3], rank, rank == 1 ? "i" : "e", rank);
  for (int i = 0; i < rank; i++) {
    const unsigned char *p = header + 4 + 4 * i;
    idx->shape[i] = (int64_t)p[0] << 24 | (int64_t)p[1] << 16 | (int64_t)p[2] << 8 | p[3];
  }
  return true;
}

bool bt_idx_read(const char *folder, const char *name, int rank, struct bt_idx *idx, char *err,
                 size_t errlen) {
  struct bt_reader r = {.err = err, .errlen = errlen};
  uint64_t bytes;
  if (rank < 1 || rank > 4) bt_die("an IDX file of rank %d", rank);
  *idx = (struct bt_idx){.rank = rank};
  if (!bt_reader_open(&r, folder, name)) return false;
  if (read_header(&r, rank, idx) && bt_reader_bytes(&r, rank, idx->shape, 1, &bytes))
    idx->data = bt_reader_rest(&r, bytes);
  bt_reader_close(&r);
  return idx->data != NULL;
}
