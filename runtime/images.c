// images.c: see images.h.
//
// Images in files have a slot each: empty at first, then what was decoded, as far as the budget
// goes, or that the image cannot be read. A slot is filled once and never changes, so readers need
// no lock. What is in memory stays: an epoch reads every image once, in a new order, so no other
// choice of the images to keep would be read from memory more often.
#define _GNU_SOURCE
#include "images.h"
#include "decode.h"
#include "btrt_internal.h"
#include "image_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#define HEAD_BYTES ((size_t)1 << 16) // of a file: its sizes are nearly always in them
#define SAMPLE 64                    // images by which the memory for all is judged
#define QUIET_SECONDS 2

struct decoded {
  int height, width;
  uint8_t pixels[];
};

static struct decoded unreadable; // in the slot of such an image

struct bt_image_files {
  struct bt_image_list list;
  int folder; // descriptor; -1: it cannot be opened, and no image can
  struct bt_image_cache *cache;
  _Atomic(struct decoded *) *slots;
  _Atomic int64_t n_unreadable;
  pthread_mutex_t lock; // of what is below: the first image that could not be read
  int64_t first;        // -1: none
  char why[160];
  bool told;
};

static size_t raster_bytes(int channels, int64_t height, int64_t width) {
  return (size_t)channels * (size_t)height * (size_t)width;
}

// ---- what cannot be read ----------------------------------------------------------------------

// Of several, the first of the set is told, so that threads make little difference.
static void note_first(struct bt_image_files *f, int64_t i, const char *why) {
  if (f->first >= 0 && (i > f->first || f->told)) return;
  f->first = i;
  snprintf(f->why, sizeof f->why, "%s", why);
}

// All at once: who finds the slot or the count changed finds the first image, too.
static bool note_unreadable(struct bt_image_files *f, int64_t i, const char *why, char *err,
                            size_t errlen) {
  struct decoded *empty = NULL;
  pthread_mutex_lock(&f->lock);
  if (atomic_compare_exchange_strong(&f->slots[i], &empty, &unreadable)) {
    note_first(f, i, why);
    atomic_fetch_add(&f->n_unreadable, 1);
  }
  pthread_mutex_unlock(&f->lock);
  return bt_fail(err, errlen, "%s/%s: %s", f->list.folder, f->list.text + f->list.paths[i], why);
}

int64_t bt_images_unreadable(const struct bt_images *images) {
  return images && images->files ? atomic_load(&images->files->n_unreadable) : 0;
}

bool bt_images_warning(const struct bt_images *images, char *text, size_t room) {
  struct bt_image_files *f = images ? images->files : NULL;
  if (!f || !atomic_load(&f->n_unreadable)) return false;
  pthread_mutex_lock(&f->lock);
  bool first = f->first >= 0 && !f->told;
  if (first)
    snprintf(text, room, "cannot read %s/%s: %s; the image after it takes its place",
             f->list.folder, f->list.text + f->list.paths[f->first], f->why);
  f->told |= first;
  pthread_mutex_unlock(&f->lock);
  return first;
}

static int64_t tolerated(const struct bt_images *images) {
  return images->n < 200 ? 1 : images->n / 100;
}

static bool check_unreadable(const struct bt_images *images, char *err, size_t errlen) {
  int64_t n = bt_images_unreadable(images);
  if (n < images->n && n <= tolerated(images)) return true;
  struct bt_image_files *f = images->files;
  pthread_mutex_lock(&f->lock);
  bt_fail(err, errlen,
          "%s: %" PRId64 " of %" PRId64
          " images cannot be read, more than one in a hundred; the first is %s: %s. "
          "Replace or remove them",
          f->list.folder, n, images->n, f->list.text + f->list.paths[f->first], f->why);
  pthread_mutex_unlock(&f->lock);
  return false;
}

// ---- one image --------------------------------------------------------------------------------

static bool reserve(struct bt_image_cache *cache, size_t bytes) {
  size_t used = atomic_load(&cache->used);
  do
    if (bytes > cache->budget || used > cache->budget - bytes) return false;
  while (!atomic_compare_exchange_weak(&cache->used, &used, used + bytes));
  return true;
}

// Keeps the raster, if it may. False: the cache is full.
static bool keep(struct bt_image_files *f, int64_t i, const struct bt_raster *r) {
  size_t pixels = raster_bytes(r->channels, r->height, r->width),
         bytes = sizeof(struct decoded) + pixels;
  if (!reserve(f->cache, bytes)) return false;
  struct decoded *d = malloc(bytes), *empty = NULL;
  if (d) {
    d->height = r->height, d->width = r->width;
    memcpy(d->pixels, r->pixels, pixels);
    if (atomic_compare_exchange_strong(&f->slots[i], &empty, d)) return true;
    free(d); // another thread was faster
  }
  atomic_fetch_sub(&f->cache->used, bytes);
  return d;
}

static bool check_size(const struct bt_images *images, const struct bt_raster *r, char *err,
                       size_t errlen) {
  if (!images->height || (r->height == images->height && r->width == images->width)) return true;
  return bt_fail(err, errlen, "it has %d×%d pixels, where the others have %d×%d", r->height,
                 r->width, images->height, images->width);
}

static bool decode_file(const struct bt_images *images, int64_t i, struct bt_image_room *room,
                        struct bt_raster *raster, char *err, size_t errlen) {
  struct bt_image_files *f = images->files;
  char why[160];
  size_t n;
  const uint8_t *bytes = bt_read_image_file(room, f->folder, f->list.text + f->list.paths[i],
                                            SIZE_MAX, &n, why, sizeof why);
  return (bytes && bt_decode(room, bytes, n, images->channels, raster, why, sizeof why) &&
          check_size(images, raster, why, sizeof why)) ||
         note_unreadable(f, i, why, err, errlen);
}

static bool get_file(const struct bt_images *images, int64_t i, struct bt_image_room *room,
                     struct bt_raster *raster, char *err, size_t errlen) {
  struct bt_image_files *f = images->files;
  const struct decoded *d = atomic_load_explicit(&f->slots[i], memory_order_acquire);
  if (d == &unreadable) return note_unreadable(f, i, "it could not be read before", err, errlen);
  if (d)
    *raster = (struct bt_raster){images->channels, d->height, d->width, d->pixels};
  else if (!decode_file(images, i, room, raster, err, errlen))
    return false;
  else
    keep(f, i, raster);
  return true;
}

bool bt_images_get(const struct bt_images *images, int64_t i, struct bt_image_room *room,
                   struct bt_raster *raster, char *err, size_t errlen) {
  if (images->files) return get_file(images, i, room, raster, err, errlen);
  size_t bytes = raster_bytes(images->channels, images->height, images->width);
  *raster = (struct bt_raster){images->channels, images->height, images->width,
                               images->pixels + (size_t)i * bytes};
  return true;
}

bool bt_images_take(const struct bt_images *images, int64_t i, struct bt_image_room *room,
                    struct bt_raster *raster, int64_t *taken, char *err, size_t errlen) {
  *taken = i;
  while (!bt_images_get(images, *taken, room, raster, err, errlen)) {
    if (!check_unreadable(images, err, errlen)) return false;
    *taken = (*taken + 1) % images->n;
  }
  return true;
}

// ---- a set of files ---------------------------------------------------------------------------

struct bt_images *bt_images_of_files(struct bt_image_list *list, int channels,
                                     struct bt_image_cache *cache) {
  struct bt_images *images = bt_xcalloc(1, sizeof *images);
  struct bt_image_files *f = images->files = bt_xcalloc(1, sizeof *f);
  *images = (struct bt_images){.n = list->n, .channels = channels, .files = f};
  f->list = *list, f->cache = cache, f->first = -1;
  *list = (struct bt_image_list){.labels = f->list.labels, .n = f->list.n};
  f->list.labels = NULL;
  f->slots = bt_xcalloc((size_t)images->n, sizeof *f->slots);
  f->folder = open(f->list.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  pthread_mutex_init(&f->lock, NULL);
  return images;
}

const char *bt_images_path(const struct bt_images *images, int64_t i) {
  const struct bt_image_list *l = &images->files->list;
  return l->text + l->paths[i];
}

uint32_t bt_images_checksum(const struct bt_images *images) {
  size_t bytes = raster_bytes(images->channels, images->height, images->width) * (size_t)images->n;
  if (!images->files) return (uint32_t)crc32_z(0, images->pixels, bytes);
  uLong sum = 0;
  for (int64_t i = 0; i < images->n; i++) {
    const char *path = bt_images_path(images, i);
    sum = crc32_z(sum, (const Bytef *)path, strlen(path) + 1);
  }
  return (uint32_t)sum;
}

const char *bt_images_folder(const struct bt_images *images) { return images->files->list.folder; }

struct size {
  int height, width; // 0: not to be found out
};

static struct size size_of(const struct bt_images *images, int64_t i, struct bt_image_room *room) {
  struct bt_image_files *f = images->files;
  struct size size = {0};
  const struct decoded *d = atomic_load(&f->slots[i]);
  if (d) return d == &unreadable ? size : (struct size){d->height, d->width};
  for (size_t most = HEAD_BYTES, n; most; most = n == most ? SIZE_MAX : 0) {
    const uint8_t *bytes =
        bt_read_image_file(room, f->folder, bt_images_path(images, i), most, &n, NULL, 0);
    if (!bytes || bt_decode_size(room, bytes, n, &size.height, &size.width, NULL, 0)) break;
  }
  return size;
}

size_t bt_images_decoded_bytes(const struct bt_images *images) {
  int64_t n = images->n < SAMPLE ? images->n : SAMPLE, known = 0;
  struct bt_image_room room = {0};
  double sum = 0;
  for (int64_t k = 0; k < n; k++) {
    struct size size = size_of(images, k * images->n / n, &room);
    known += size.height > 0;
    sum += (double)raster_bytes(images->channels, size.height, size.width);
  }
  bt_image_room_free(&room);
  double bytes = (known ? sum / (double)known : 0) + sizeof(struct decoded);
  return (size_t)(bytes * (double)images->n);
}

bool bt_images_measure(struct bt_images *images, int64_t *other, int *height, int *width) {
  struct size *sizes = bt_xcalloc((size_t)images->n, sizeof *sizes), one = {0};
#pragma omp parallel
  {
    struct bt_image_room room = {0};
#pragma omp for schedule(dynamic, 64)
    for (int64_t i = 0; i < images->n; i++) sizes[i] = size_of(images, i, &room);
    bt_image_room_free(&room);
  }
  bool same = true;
  for (int64_t i = 0; same && i < images->n; i++) {
    if (!sizes[i].height) continue;
    if (!one.height) one = sizes[i];
    same = sizes[i].height == one.height && sizes[i].width == one.width;
    if (!same) *other = i, *height = sizes[i].height, *width = sizes[i].width;
  }
  free(sizes);
  if (same) images->height = one.height, images->width = one.width;
  return same;
}

bool bt_images_loaded(const struct bt_images *images) {
  for (int64_t i = 0; images->files && i < images->n; i++)
    if (!atomic_load(&images->files->slots[i])) return false;
  return true;
}

// ---- decoding all -----------------------------------------------------------------------------

struct loading {
  const struct bt_images *images;
  const char *what;
  double start, shown;
  bool terminal, line;
  _Atomic int64_t done;
  _Atomic bool full;
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// By the first thread alone.
static void show(struct loading *l) {
  double time = now();
  if (!l->what || time - l->start < QUIET_SECONDS ||
      (l->line && (!l->terminal || time - l->shown < 0.2)))
    return;
  fprintf(stderr, "%sreading %" PRId64 " %s: %.0f %%%s", l->terminal ? "\r\033[K" : "",
          l->images->n, l->what, 100 * (double)l->done / (double)l->images->n,
          l->terminal ? "" : "\n");
  fflush(stderr);
  l->line = true, l->shown = time;
}

static void load_one(struct loading *l, int64_t i, struct bt_image_room *room) {
  struct bt_image_files *f = l->images->files;
  struct bt_raster raster;
  if (l->full || atomic_load(&f->slots[i])) return;
  if (decode_file(l->images, i, room, &raster, NULL, 0) && !keep(f, i, &raster)) l->full = true;
  if (bt_images_unreadable(l->images) > tolerated(l->images)) l->full = true; // it will not be used
  l->done++;
  if (omp_get_thread_num() == 0) show(l);
}

bool bt_images_load(const struct bt_images *images, const char *progress, char *err,
                    size_t errlen) {
  struct loading l = {
      .images = images, .what = progress, .start = now(), .terminal = isatty(STDERR_FILENO) == 1};
#pragma omp parallel
  {
    struct bt_image_room room = {0};
#pragma omp for schedule(dynamic, 16)
    for (int64_t i = 0; i < images->n; i++) load_one(&l, i, &room);
    bt_image_room_free(&room);
  }
  if (l.line && l.terminal) fputs("\r\033[K", stderr);
  return check_unreadable(images, err, errlen);
}

// ---- the end ----------------------------------------------------------------------------------

size_t bt_images_bytes(const struct bt_images *images) {
  if (images->pixels)
    return (size_t)images->n * raster_bytes(images->channels, images->height, images->width);
  const struct bt_image_list *l = &images->files->list;
  size_t bytes = (size_t)images->n * (sizeof *images->files->slots + sizeof *l->paths);
  for (int64_t i = 0; i < images->n; i++) bytes += strlen(l->text + l->paths[i]) + 1;
  return bytes;
}

static void free_files(struct bt_image_files *f, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (f->slots[i] != &unreadable) free(f->slots[i]);
  if (f->folder >= 0) close(f->folder);
  pthread_mutex_destroy(&f->lock);
  bt_image_list_free(&f->list);
  free(f->slots);
  free(f);
}

void bt_images_free(struct bt_images *images) {
  if (!images) return;
  if (images->files) free_files(images->files, images->n);
  free(images->pixels);
  free(images);
}
