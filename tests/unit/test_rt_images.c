// test_rt_images.c: JPEG and PNG files against PIL and against what was written; damaged files and
// false headers; folders of classes; budgets of memory, and images that cannot be read.
#define _GNU_SOURCE
#include "data.h"
#include "decode.h"
#include "image_files.h"
#include "npy.h"

#include <dirent.h>
#include <omp.h>
#include <zlib.h>

static char err[5000];
static const struct bt_column labels[] = {{.name = "y", .dtype = BT_I32, .label = true}};
static const struct bt_data_need unlabelled = {.images_name = "x", .cache = 1 << 20},
                                 labelled = {.images_name = "x",
                                             .n_columns = 1,
                                             .columns = labels,
                                             .cache = 1 << 20};

// folder/name, whose folders are made.
static const char *place(const char *folder, const char *name) {
  const char *path = rt_path(folder, name);
  char command[700];
  snprintf(command, sizeof command, "mkdir -p \"$(dirname '%s')\"", path);
  assert_int_equal(system(command), 0);
  return path;
}

static void shell(const char *folder, const char *command) {
  char line[1000];
  snprintf(line, sizeof line, "cd '%s' && %s", folder, command);
  if (system(line) != 0) fail_msg("%s", line);
}

// ---- decoding -----------------------------------------------------------------------------------

static bool decode_file(const char *path, int channels, struct bt_image_room *room,
                        struct bt_raster *raster) {
  size_t n;
  const uint8_t *bytes = bt_read_image_file(room, AT_FDCWD, path, SIZE_MAX, &n, err, sizeof err);
  return bytes && bt_decode(room, bytes, n, channels, raster, err, sizeof err);
}

static void expect_pil(const char *folder, const char *file, const char *suffix, int channels) {
  struct bt_image_room room = {0};
  struct bt_raster r;
  struct bt_npy want;
  char name[300];
  snprintf(name, sizeof name, "%s.%s.npy", file, suffix);
  if (!bt_npy_read(folder, name, &want, err, sizeof err)) fail_msg("%s", err);
  if (!decode_file(rt_path(folder, file), channels, &room, &r)) fail_msg("%s: %s", file, err);
  assert_int_equal(want.rank, 3);
  assert_int_equal(want.shape[0], r.channels);
  assert_int_equal(want.shape[1], r.height);
  assert_int_equal(want.shape[2], r.width);
  const uint8_t *pixels = want.data;
  for (int i = 0; i < r.channels * r.height * r.width; i++)
    if (pixels[i] != r.pixels[i])
      fail_msg("%s: byte %d is %d, PIL's %d", name, i, r.pixels[i], pixels[i]);
  free(want.data);
  bt_image_room_free(&room);
}

// Both use libjpeg-turbo, so every bit is the same.
static void test_pil(void **state) {
  image_jpeg(rt_path(*state, "ycck.jpg"), 1, 4, 19, 23, IMAGE_YCCK);
  image_jpeg(rt_path(*state, "restarts.jpg"), 1, 3, 19, 23, IMAGE_RESTARTS);
  image_png(rt_path(*state, "interlaced.png"), 1, PNG_COLOR_TYPE_RGB, 8, 19, 23, IMAGE_INTERLACED);
  image_png(rt_path(*state, "rgb16.png"), 1, PNG_COLOR_TYPE_RGB, 16, 19, 23, IMAGE_PLAIN);
  image_png(rt_path(*state, "rgba16.png"), 1, PNG_COLOR_TYPE_RGB_ALPHA, 16, 19, 23, IMAGE_PLAIN);
  char command[700];
  snprintf(command, sizeof command, "/usr/bin/python3 tests/pil_images.py '%s' 2>/dev/null",
           (char *)*state);
  if (system("/usr/bin/python3 -c 'import PIL, numpy' 2>/dev/null") != 0) skip();
  assert_int_equal(system(command), 0);
  DIR *dir = opendir(*state);
  int n = 0;
  for (struct dirent *e; (e = readdir(dir));) {
    const char *dot = strrchr(e->d_name, '.');
    if (strcmp(dot, ".jpg") != 0 && strcmp(dot, ".png") != 0) continue;
    expect_pil(*state, e->d_name, "rgb", 3), expect_pil(*state, e->d_name, "l", 1);
    n++;
  }
  closedir(dir);
  assert_int_equal(n, 23);
}

static void expect_png(const char *folder, int type, int bits, int options, int channels,
                       const uint8_t want[3]) {
  enum { HEIGHT = 11, WIDTH = 9, PIXEL = 50 };
  struct bt_image_room room = {0};
  struct bt_raster r;
  const char *path = rt_path(folder, "a.png");
  image_png(path, 1, type, bits, HEIGHT, WIDTH, options);
  if (!decode_file(path, channels, &room, &r)) fail_msg("%s", err);
  assert_int_equal(r.height, HEIGHT);
  assert_int_equal(r.width, WIDTH);
  for (int c = 0; c < channels; c++)
    assert_int_equal(r.pixels[c * HEIGHT * WIDTH + PIXEL], want[c]);
  bt_image_room_free(&room);
}

static void test_colours(void **state) {
  enum { PIXEL = 50 };
  uint8_t v[3] = {image_value(1, PIXEL, 0), image_value(1, PIXEL, 1), image_value(1, PIXEL, 2)};
  uint8_t luma[3] = {(uint8_t)(0.299 * v[0] + 0.587 * v[1] + 0.114 * v[2] + 0.5)};
  uint8_t grey[3] = {v[0], v[0], v[0]},
          entry[3] = {v[0], (uint8_t)(2 * v[0]), (uint8_t)(255 - v[0])};
  for (int bits = 8; bits <= 16; bits += 8)
    for (int options = IMAGE_PLAIN; options <= IMAGE_INTERLACED; options++) {
      expect_png(*state, PNG_COLOR_TYPE_RGB, bits, options, 3, v);
      expect_png(*state, PNG_COLOR_TYPE_RGB_ALPHA, bits, options, 3, v);
      expect_png(*state, PNG_COLOR_TYPE_RGB, bits, options, 1, luma);
      expect_png(*state, PNG_COLOR_TYPE_GRAY, bits, options, 3, grey);
      expect_png(*state, PNG_COLOR_TYPE_GRAY_ALPHA, bits, options, 1, grey);
    }
  expect_png(*state, PNG_COLOR_TYPE_PALETTE, 8, IMAGE_PLAIN, 3, entry);
}

static void expect_damage(const uint8_t *bytes, size_t n, struct bt_image_room *room,
                          const char *why) {
  struct bt_raster r;
  uint8_t *copy = malloc(n + 1); // its own, so that sanitizers see what is read behind it
  memcpy(copy, bytes, n);
  if (bt_decode(room, copy, n, 3, &r, err, sizeof err)) fail_msg("taken for an image: %s", why);
  free(copy);
}

// Every shorter file is refused; every flipped byte is survived, and then the whole file is read
// again.
static void damage(const char *path) {
  struct bt_image_room room = {0};
  struct bt_raster r;
  size_t n;
  uint8_t *bytes = (uint8_t *)rt_read(path, &n);
  for (size_t i = 0; i < n; i++) expect_damage(bytes, i, &room, "cut");
  for (size_t i = 0; i < n; i++) {
    bytes[i] ^= 0x55;
    bt_decode(&room, bytes, n, 1 + 2 * (int)(i % 2), &r, err, sizeof err);
    bytes[i] ^= 0x55;
  }
  if (!bt_decode(&room, bytes, n, 3, &r, err, sizeof err)) fail_msg("%s", err);
  free(bytes);
  bt_image_room_free(&room);
}

// A file without tables is damaged, whatever was decoded before it: libjpeg would remember theirs.
static void test_missing_tables(void **state) {
  const char *path = rt_path(*state, "a");
  struct bt_image_room room = {0};
  struct bt_raster r;
  size_t n;
  image_jpeg(path, 1, 3, 20, 18, IMAGE_PLAIN);
  uint8_t *bytes = (uint8_t *)rt_read(path, &n);
  assert_true(bt_decode(&room, bytes, n, 3, &r, err, sizeof err));
  ((uint8_t *)memmem(bytes, n, "\xff\xdb", 2))[1] = 0xfe; // quantization becomes a comment
  expect_damage(bytes, n, &room, "without a table");
  rt_expect_text(err, "Quantization table 0x00 was not defined");
  free(bytes);
  bt_image_room_free(&room);
}

static void test_damage(void **state) {
  const char *path = rt_path(*state, "a");
  for (int options = IMAGE_PLAIN; options <= IMAGE_PROGRESSIVE; options += IMAGE_PROGRESSIVE) {
    image_jpeg(path, 1, 3, 20, 18, options), damage(path);
    image_jpeg(path, 1, 4, 20, 18, options), damage(path);
  }
  image_png(path, 1, PNG_COLOR_TYPE_RGB, 8, 20, 18, IMAGE_PLAIN), damage(path);
  image_png(path, 1, PNG_COLOR_TYPE_PALETTE, 8, 20, 18, IMAGE_INTERLACED), damage(path);
}

// Writes a size into the header of a file in memory, with PNG's checksum.
static void claim(uint8_t *bytes, size_t n, bool png, unsigned height, unsigned width) {
  const uint8_t size[8] = {(uint8_t)(width >> 24), (uint8_t)(width >> 16),  (uint8_t)(width >> 8),
                           (uint8_t)width,         (uint8_t)(height >> 24), (uint8_t)(height >> 16),
                           (uint8_t)(height >> 8), (uint8_t)height};
  if (png) {
    memcpy(bytes + 16, size, 8);
    unsigned long crc = crc32(0, bytes + 12, 17);
    for (int i = 0; i < 4; i++) bytes[29 + i] = (uint8_t)(crc >> (24 - 8 * i));
    return;
  }
  for (size_t i = 0; i + 9 < n; i++)
    if (bytes[i] == 0xff &&
        (bytes[i + 1] == 0xc0 || bytes[i + 1] == 0xc2 || bytes[i + 1] == 0xc9)) {
      memcpy(bytes + i + 5, (uint8_t[]){size[6], size[7], size[2], size[3]}, 4);
      return;
    }
}

static void expect_claim(const char *path, bool png, unsigned height, unsigned width,
                         const char *why) {
  struct bt_image_room room = {0};
  size_t n;
  uint8_t *bytes = (uint8_t *)rt_read(path, &n);
  claim(bytes, n, png, height, width);
  expect_damage(bytes, n, &room, why);
  rt_expect_text(err, why);
  free(bytes);
  bt_image_room_free(&room);
}

static void test_claims(void **state) {
  const char *jpeg = rt_path(*state, "a.jpg"), *png = rt_path(*state, "a.png");
  for (int options = IMAGE_PLAIN; options <= IMAGE_PROGRESSIVE; options += IMAGE_PROGRESSIVE) {
    image_jpeg(jpeg, 1, 3, 8, 8, options);
    expect_claim(jpeg, false, 60000, 60000, "60000×60000 pixels, more than 178956970");
    expect_claim(jpeg, false, 13000, 13000, "cannot hold");
    expect_claim(jpeg, false, 0, 8, "");
  }
  image_jpeg(jpeg, 1, 3, 8, 8, IMAGE_ARITHMETIC);
  expect_claim(jpeg, false, 13000, 13000, "cannot hold");
  image_png(png, 1, PNG_COLOR_TYPE_RGB, 8, 8, 8, IMAGE_PLAIN);
  expect_claim(png, true, 100000, 100000, "more than 178956970");
  expect_claim(png, true, 13000, 13000, "cannot hold");
  struct bt_image_room room = {0};
  expect_damage((const uint8_t *)"GIF89a", 6, &room, "neither JPEG nor PNG");
  rt_expect_text(err, "neither JPEG nor PNG");
  bt_image_room_free(&room);
}

// The first scan of a progressive file again and again.
static void test_scans(void **state) {
  struct bt_image_room room = {0};
  struct bt_raster r;
  const char *path = rt_path(*state, "a.jpg");
  image_jpeg(path, 1, 1, 8, 8, IMAGE_PROGRESSIVE);
  size_t n, from = 0;
  uint8_t *bytes = (uint8_t *)rt_read(path, &n);
  while (bytes[from] != 0xff || bytes[from + 1] != 0xda) from++;
  size_t end = from + 2;
  while (bytes[end] != 0xff || !bytes[end + 1]) end++;
  for (int scans = 100; scans <= 600; scans += 500) {
    size_t length = n + (size_t)scans * (end - from), at = end;
    uint8_t *many = malloc(length);
    memcpy(many, bytes, end);
    for (int i = 0; i < scans; i++, at += end - from) memcpy(many + at, bytes + from, end - from);
    memcpy(many + at, bytes + end, n - end);
    bool ok = bt_decode(&room, many, length, 1, &r, err, sizeof err);
    if (ok != (scans < 500)) fail_msg("%d scans: %s", scans, err);
    free(many);
  }
  rt_expect_text(err, "more than 500 scans");
  free(bytes);
  bt_image_room_free(&room);
}

// ---- folders ------------------------------------------------------------------------------------

static void expect_refused(const char *folder, const struct bt_data_need *need, const char *why) {
  struct bt_data *d = bt_data_open(folder, need, 0, err, sizeof err);
  if (d) fail_msg("accepted, though: %s", why);
  rt_expect_text(err, why);
}

static struct bt_data *expect_read(const char *folder, const struct bt_data_need *need) {
  struct bt_data *d = bt_data_open(folder, need, 0, err, sizeof err);
  if (!d) fail_msg("%s", err);
  return d;
}

enum { SIDE = 8 };

static void add(const char *folder, const char *name, int seed) {
  const char *path = place(folder, name), *dot = strrchr(name, '.');
  if (strcasecmp(dot, ".png") == 0)
    image_png(path, seed, PNG_COLOR_TYPE_RGB, 8, SIDE, SIDE, IMAGE_PLAIN);
  else
    image_jpeg(path, seed, 3, SIDE, SIDE, IMAGE_PLAIN);
}

// Two classes, whose order is that of bytes; names, in order, are 0 … 4 and 5 … 6.
static void make(const char *folder) {
  add(folder, "train/a-b/1.JPG", 0), add(folder, "train/a-b/sub/deep/1.png", 2),
      add(folder, "train/a-b/2.jpeg", 1);
  add(folder, "train/a/0.Png", 3), add(folder, "train/a/1.jpg", 4);
  add(folder, "val/a/x.jpg", 5), add(folder, "val/a-b/x.jpg", 6);
  rt_write(place(folder, "train/a/notes.txt"), "x", 1);
  add(folder, "train/.hidden/1.jpg", 9), add(folder, "train/a/.2.jpg", 9);
}

static void expect_made(const char *where, const struct bt_data_need *need) {
  static const char *const paths[] = {"a/0.Png", "a/1.jpg", "a-b/1.JPG", "a-b/2.jpeg",
                                      "a-b/sub/deep/1.png"};
  struct bt_data *d = expect_read(where, need);
  assert_int_equal(d->train.n, 5);
  assert_int_equal(d->classes, 2);
  assert_string_equal(d->class_names[0], "a");
  assert_string_equal(d->class_names[1], "a-b");
  for (int i = 0; i < 5; i++) {
    assert_string_equal(bt_images_path(d->train.images, i), paths[i]);
    assert_int_equal(d->train.labels[i], i > 1);
  }
  assert_int_equal(d->test.n, need->train_only ? 0 : 2);
  if (!need->train_only) assert_int_equal(d->test.labels[1], 1);
  bt_data_free(d);
}

static void test_layout(void **state) {
  char *folder = *state, outer[600];
  make(folder);
  expect_made(folder, &labelled);
  expect_made(folder, &unlabelled);
  snprintf(outer, sizeof outer, "%s/train", folder);
  struct bt_data_need train_only = labelled;
  train_only.train_only = true;
  expect_made(folder, &train_only);
  expect_made(outer, &train_only); // class folders alone
  expect_refused(outer, &labelled,
                 "has no images to test on, which the program needs: put them in a folder test");
  shell(folder,
        "mkdir o && mkdir o/in && mv train val o/in && echo x > o/README"); // one level deeper
  snprintf(outer, sizeof outer, "%s/o", folder);
  expect_made(outer, &labelled);
  shell(folder, "mv o/in/train o/in/trains");
  expect_refused(rt_path(folder, "o/in"), &labelled, "has a folder val but no folder train");
}

static void test_links(void **state) {
  make(*state);
  shell(*state, "ln -s .. train/a/circle && ln -s ../a/1.jpg train/a-b/link.jpg && mv val "
                "elsewhere && ln -s elsewhere test");
  struct bt_data *d = expect_read(*state, &labelled);
  assert_int_equal(d->test.n, 2);
  assert_int_equal(d->train.n, 6);
  assert_string_equal(bt_images_path(d->train.images, 4), "a-b/link.jpg");
  bt_data_free(d);
}

static void test_unlabelled(void **state) {
  add(*state, "train/2.jpg", 2), add(*state, "train/1.jpg", 1), add(*state, "test/3.jpg", 3);
  struct bt_data *d = expect_read(*state, &unlabelled);
  assert_int_equal(d->train.n, 2);
  assert_null(d->train.labels);
  assert_int_equal(d->image[0], 3);
  assert_int_equal(d->image[1], SIDE);
  bt_data_free(d);
  expect_refused(*state, &labelled, "has images without labels, which the program reads as 'y'");
  struct bt_data_need grey = unlabelled;
  grey.image[0] = 1;
  d = expect_read(*state, &grey);
  assert_int_equal(d->train.images->channels, 1);
  bt_data_free(d);
  grey.image[0] = 2;
  expect_refused(*state, &grey, "of files they can have 1 or 3");
  shell(*state, "rm test/3.jpg && mkdir test/a && echo x > test/a/3.gif"); // folders without an image
  expect_refused(*state, &unlabelled, "test has no images (1 other files");
}

static void test_unfit(void **state) {
  make(*state);
  expect_refused(
      *state,
      &(struct bt_data_need){
          .images_name = "x",
          .n_columns = 1,
          .classes = 1,
          .columns =
              &(struct bt_column){.name = "y", .dtype = BT_I32, .label = true, .classes = 1}},
      "label 1 (a-b) of training image 2 is out of range");
  add(*state, "val/zebra/1.jpg", 1);
  expect_refused(*state, &labelled, "val has the class 'zebra', which");
  shell(*state, "mkdir train/zebra");
  expect_refused(*state, &labelled, "train/zebra: the class has no images (0 other files");
  shell(*state, "echo x > train/zebra/a.gif");
  expect_refused(*state, &labelled, "train/zebra: the class has no images (1 other files");
  add(*state, "train/zebra/1.jpg", 1), add(*state, "train/stray.jpg", 1);
  expect_refused(*state, &labelled, "has images of its own (stray.jpg) beside class folders");
  shell(*state, "rm -r train && mkdir train && echo x > train/a.txt");
  expect_refused(*state, &labelled, "train has no images (1 other files");
}

// ---- sizes and memory ---------------------------------------------------------------------------

static void test_sizes(void **state) {
  struct bt_data_need fixed = unlabelled;
  fixed.image[0] = 3, fixed.image[1] = fixed.image[2] = SIDE;
  make(*state);
  for (int k = 0; k < 2; k++, fixed.cache = 0) bt_data_free(expect_read(*state, &fixed));
  image_jpeg(place(*state, "train/a-b/15.jpg"), 1, 3, SIDE, SIDE + 1, IMAGE_PLAIN);
  for (size_t cache = 0; cache <= 1 << 20; cache += 1 << 20) {
    fixed.cache = cache;
    expect_refused(*state, &fixed,
                   "train/a-b/15.jpg has 8×9 pixels, the images before it another size");
    struct bt_data_need any = unlabelled;
    any.cache = cache;
    struct bt_data *d = expect_read(*state, &any);
    assert_int_equal(d->image[1], 0);
    assert_false(bt_data_measure(d, err, sizeof err));
    rt_expect_text(err, "train/a-b/15.jpg has 8×9");
    bt_data_free(d);
  }
  shell(*state, "rm train/a-b/15.jpg");
  fixed.image[1] = fixed.image[2] = 32;
  expect_refused(*state, &fixed, "has images of 3×8×8");
  struct bt_data *d = expect_read(*state, &(struct bt_data_need){.images_name = "x"});
  assert_int_equal(d->image[1], 0); // nobody asked
  assert_true(bt_data_measure(d, err, sizeof err));
  assert_int_equal(d->image[2], SIDE);
  bt_data_free(d);
}

// All pixels of a split, and which image took each place; twice, the second time from memory.
static unsigned long digest(const struct bt_data *d, int64_t *n_unreadable) {
  const struct bt_images *images = d->train.images;
  unsigned long sum[2];
  for (int round = 0; round < 2; round++) {
    unsigned long *each = calloc((size_t)images->n, sizeof *each);
#pragma omp parallel for num_threads(4)
    for (int64_t i = 0; i < images->n; i++) {
      struct bt_image_room room = {0};
      struct bt_raster r;
      int64_t taken;
      char why[5000];
      if (!bt_images_take(images, i, &room, &r, &taken, why, sizeof why)) abort();
      each[i] = adler32((unsigned)taken, r.pixels, (unsigned)(r.channels * r.height * r.width));
      bt_image_room_free(&room);
    }
    sum[round] = 0;
    for (int64_t i = 0; i < images->n; i++) sum[round] = 31 * sum[round] + each[i];
    free(each);
  }
  assert_true(sum[0] == sum[1]);
  *n_unreadable = bt_images_unreadable(images);
  return sum[0];
}

static void many(const char *folder, int n) {
  for (int i = 0; i < n; i++) {
    char name[64];
    snprintf(name, sizeof name, "train/%c/%03d.jpg", 'a' + i % 3, i);
    add(folder, name, i);
  }
}

static void test_cache(void **state) {
  unsigned long want = 0;
  many(*state, 60);
  shell(*state, "truncate -s 200 train/b/004.jpg"); // of 60 one
  for (size_t cache = 0; cache <= 20000; cache += 2500) {
    struct bt_data_need need = labelled;
    int64_t n;
    need.cache = cache, need.train_only = true;
    struct bt_data *d = expect_read(*state, &need);
    unsigned long sum = digest(d, &n);
    if (!cache) want = sum;
    assert_true(sum == want);
    assert_int_equal(n, 1);
    assert_true(d->cache.used <= cache);
    if (cache == 20000) assert_true(bt_images_loaded(d->train.images));
    bt_data_free(d);
  }
  struct bt_data_need plan = labelled;
  plan.plan = plan.train_only = true;
  struct bt_data *d = expect_read(*state, &plan);
  assert_int_equal(d->cache.used, 0);
  bt_data_free(d);
}

// ---- what cannot be read ------------------------------------------------------------------------

static int64_t take(const struct bt_data *d, int64_t i, struct bt_raster *r,
                    struct bt_image_room *room) {
  int64_t taken = -1;
  if (!bt_images_take(d->train.images, i, room, r, &taken, err, sizeof err)) return -1;
  return taken;
}

static void test_unreadable(void **state) {
  struct bt_image_room room = {0};
  struct bt_raster r;
  char text[5000];
  struct bt_data_need need = labelled;
  need.train_only = true;
  many(*state, 300); // three may be unreadable
  shell(*state,
        "truncate -s 200 train/c/299.jpg && echo x > train/a/003.jpg && : > train/a/006.jpg");
  for (need.cache = 0; need.cache <= 1 << 20; need.cache += 1 << 20) {
    struct bt_data *d = expect_read(*state, &need);
    assert_int_equal(take(d, 0, &r, &room), 0);
    assert_int_equal(take(d, 1, &r, &room), 3); // a/003 and a/006 are 1 and 2
    assert_int_equal(take(d, 2, &r, &room), 3);
    assert_int_equal(take(d, 299, &r, &room), 0);
    assert_int_equal(bt_images_unreadable(d->train.images), 3);
    assert_true(bt_data_warning(d, text, sizeof text));
    rt_expect_text(text, "train/a/003.jpg: neither JPEG nor PNG");
    assert_false(bt_data_warning(d, text, sizeof text));
    assert_true(bt_data_unreadable(d, text, sizeof text));
    rt_expect_text(text, "3 of 300 images could not be read");
    bt_data_free(d);
  }
  need.cache = 0;
  struct bt_data *d = expect_read(*state, &need);
  shell(*state, "rm train/b/001.jpg"); // in the middle of a run
  assert_int_equal(take(d, 100, &r, &room), 101);
  assert_int_equal(take(d, 1, &r, &room), 3);
  assert_int_equal(take(d, 299, &r, &room), -1);
  rt_expect_text(
      err, "4 of 300 images cannot be read, more than one in a hundred; the first is a/003.jpg");
  bt_data_free(d);
  need.cache = 1 << 20;
  expect_refused(*state, &need, "of 299 images cannot be read");
  bt_image_room_free(&room);
}

static void test_all_unreadable(void **state) {
  struct bt_image_room room = {0};
  struct bt_raster r;
  rt_write(place(*state, "train/1.jpg"), "x", 1);
  struct bt_data_need need = {.images_name = "x", .train_only = true};
  struct bt_data *d = expect_read(*state, &need);
  assert_int_equal(take(d, 0, &r, &room), -1);
  rt_expect_text(err, "1 of 1 images cannot be read");
  bt_data_free(d);
  bt_image_room_free(&room);
}

static int setup(void **state) { return *state = rt_mkdir(), 0; }
static int teardown(void **state) { return rt_rmdir(*state), 0; }
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_FOLDER(test_pil),
      WITH_FOLDER(test_colours),
      WITH_FOLDER(test_damage),
      WITH_FOLDER(test_missing_tables),
      WITH_FOLDER(test_claims),
      WITH_FOLDER(test_scans),
      WITH_FOLDER(test_layout),
      WITH_FOLDER(test_links),
      WITH_FOLDER(test_unlabelled),
      WITH_FOLDER(test_unfit),
      WITH_FOLDER(test_sizes),
      WITH_FOLDER(test_cache),
      WITH_FOLDER(test_unreadable),
      WITH_FOLDER(test_all_unreadable),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
