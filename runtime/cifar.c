// cifar.c: see cifar.h.
#include "cifar.h"
#include "reader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIXELS (3 * BT_CIFAR_SIDE * BT_CIFAR_SIDE)

struct bt_cifar_kind {
  const char *name, *within, *names;
  int classes, label_bytes;       // the last byte is the label
  const char *train[6], *test[2]; // files, to NULL
};
static const struct bt_cifar_kind kinds[] = {
    {"CIFAR-10",
     "cifar-10-batches-bin",
     "batches.meta.txt",
     10,
     1,
     {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
      "data_batch_5.bin"},
     {"test_batch.bin"}},
    {"CIFAR-100", "cifar-100-binary", "fine_label_names.txt", 100, 2, {"train.bin"}, {"test.bin"}},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

// ---- finding ----------------------------------------------------------------------------------

static bool is_kind(const char *folder, const struct bt_cifar_kind *kind) {
  return bt_reader_exists(folder, kind->train[0]) || bt_reader_exists(folder, kind->test[0]);
}

bool bt_cifar_find(struct bt_cifar *c, const char *folder, char *err, size_t errlen) {
  *c = (struct bt_cifar){0};
  for (int i = 0; i < N_KINDS; i++) {
    const struct bt_cifar_kind *k = &kinds[i];
    char within[4096];
    snprintf(within, sizeof within, "%s/%s", folder, k->within);
    const char *place = is_kind(folder, k) ? folder : is_kind(within, k) ? within : NULL;
    if (!place) continue;
    if (c->kind)
      return bt_fail(err, errlen, "%s has both %s and %s: give --data the folder of one of them",
                     folder, c->kind->name, k->name);
    c->kind = k, c->classes = k->classes;
    snprintf(c->folder, sizeof c->folder, "%s", place);
  }
  return true;
}

// ---- reading ----------------------------------------------------------------------------------

static bool add_records(struct bt_reader *r, const struct bt_cifar_kind *kind, const uint8_t *bytes,
                        uint64_t n, struct bt_cifar_split *split) {
  size_t record = (size_t)kind->label_bytes + PIXELS;
  int64_t count = (int64_t)(n / record), all = split->n + count;
  if (n == 0 || n % record)
    return BT_READER_FAIL(
        r, "truncated, or no file of %s: its %" PRIu64 " bytes are not a number of records of %zu",
        kind->name, n, record);
  uint8_t *pixels = realloc(split->pixels, (size_t)all * PIXELS);
  if (pixels) split->pixels = pixels;
  int32_t *labels = realloc(split->labels, (size_t)all * sizeof *labels);
  if (labels) split->labels = labels;
  if (!pixels || !labels) return BT_READER_FAIL(r, "not enough memory for %" PRId64 " images", all);
  for (int64_t i = 0; i < count; i++, bytes += record) {
    int label = bytes[kind->label_bytes - 1];
    if (label >= kind->classes)
      return BT_READER_FAIL(r, "damaged, or no file of %s: image %" PRId64 " has label %d",
                            kind->name, i, label);
    labels[split->n] = label;
    memcpy(pixels + split->n++ * PIXELS, bytes + kind->label_bytes, PIXELS);
  }
  return true;
}

static bool read_file(const struct bt_cifar *c, const char *file, struct bt_cifar_split *split,
                      char *err, size_t errlen) {
  struct bt_reader r = {.err = err, .errlen = errlen};
  uint64_t n;
  if (!bt_reader_open(&r, c->folder, file)) return false;
  uint8_t *bytes = bt_reader_all(&r, &n);
  bool ok = bytes && add_records(&r, c->kind, bytes, n, split);
  bt_reader_close(&r);
  free(bytes);
  return ok;
}

bool bt_cifar_read(const struct bt_cifar *c, bool test, struct bt_cifar_split *split, char *err,
                   size_t errlen) {
  *split = (struct bt_cifar_split){0};
  for (const char *const *file = test ? c->kind->test : c->kind->train; *file; file++)
    if (!read_file(c, *file, split, err, errlen)) {
      free(split->pixels), free(split->labels);
      *split = (struct bt_cifar_split){0};
      return false;
    }
  return true;
}

// ---- names ------------------------------------------------------------------------------------

static void free_names(char **names, int n) {
  for (int i = 0; i < n; i++) free(names[i]);
  free(names);
}

char **bt_cifar_names(const struct bt_cifar *c) {
  char path[4400], line[256];
  snprintf(path, sizeof path, "%s/%s", c->folder, c->kind->names);
  FILE *f = fopen(path, "r");
  if (!f) return NULL;
  char **names = bt_xcalloc((size_t)c->classes, sizeof *names);
  int n = 0;
  while (n < c->classes && fgets(line, sizeof line, f)) {
    line[strcspn(line, "\r\n")] = 0;
    if (*line) names[n++] = strdup(line);
  }
  fclose(f);
  if (n == c->classes) return names;
  free_names(names, n);
  return NULL;
}
