// test_rt_grid.c: `views`: the picture's tiles against each other, its files and its refusals.
#define _GNU_SOURCE
#include "btrt.h"
#include "rt_test.h"

#include <png.h>

enum { SIDE = 8, TILE = 112, GAP = 4, BATCH = 4, COLUMNS = 7 };

static void no_step(const struct bt_frame *frame) { (void)frame; }

// What is normalised is as it was again; a flip that always happens mirrors; a crop is drawn.
#define NORMAL                                                   \
  {                                                              \
    BT_VIEW_normalize, { 0.5, 0.4, 0.3, 0, 0.25, 0.5, 0.125, 0 } \
  }
static const struct bt_view_step plain[] = {NORMAL};
static const struct bt_view_step flipped[] = {{BT_VIEW_horizontal_flip, {1}}, NORMAL};
static const struct bt_view_step drawn[] = {{BT_VIEW_random_crop, {SIDE, 2}}};
static const struct bt_view views[] = {
    {"plain", 1, plain}, {"flipped", 2, flipped}, {"drawn", 1, drawn}};
#define INPUT(channels, view, site) \
  { "x", BT_INPUT_VIEW, BT_F32, 4, {BATCH, channels, SIDE, SIDE}, view, site, 0 }
static const struct bt_input colour_inputs[] = {INPUT(3, 0, 0), INPUT(3, 1, 1)};
static const struct bt_input grey_inputs[] = {INPUT(1, 2, 0), INPUT(1, 0, 1)};
static const struct bt_input array_inputs[] = {
    {"v", BT_INPUT_ARRAY, BT_F32, 2, {BATCH, 3}, 0, 0, 0}};
static const struct bt_output outputs[] = {{"r", BT_OUTPUT_REPORT, BT_F32, 0, {0}}};
#define PROGRAM(program, channels, n, program_inputs)                                  \
  {                                                                                    \
    .name = program, .step = no_step, .batch = BATCH, .image = {channels, SIDE, SIDE}, \
    .n_inputs = n, .inputs = program_inputs, .n_outputs = 1, .outputs = outputs,       \
  }
static const struct bt_program programs[] = {PROGRAM("colour", 3, 2, colour_inputs),
                                             PROGRAM("grey", 1, 2, grey_inputs),
                                             PROGRAM("array", 0, 1, array_inputs)};
static const struct bt_module module = {.abi = BT_ABI,
                                        .source_path = "test.btg",
                                        .build = "test",
                                        .n_programs = 3,
                                        .programs = programs,
                                        .n_views = 3,
                                        .views = views};

static char *folder;
static const char *file;

static int run(const char *program, const char *seed, const char *rows) {
  char *argv[] = {
      "train",  "views",      (char *)program, "--out",      (char *)file, "--data", "synthetic:20",
      "--seed", (char *)seed, "--rows",        (char *)rows, "--quiet",    NULL};
  return bt_main(12, argv, &module);
}

static uint8_t *read_picture(png_image *image, int channels) {
  *image = (png_image){.version = PNG_IMAGE_VERSION};
  assert_true(png_image_begin_read_from_file(image, file));
  assert_int_equal(PNG_IMAGE_SAMPLE_CHANNELS(image->format), channels);
  uint8_t *pixels = malloc(PNG_IMAGE_SIZE(*image));
  assert_true(png_image_finish_read(image, NULL, pixels, 0, NULL));
  return pixels;
}

// Pixel of a tile: column 0 is the stored image; each view has three.
static int tile_at(const png_image *image, const uint8_t *pixels, int channels, int row, int column,
                   int y, int x, int c) {
  int left = GAP + column * (TILE + GAP) + (column ? 1 + (column - 1) / 3 : 0) * GAP;
  return pixels[((size_t)(GAP + row * (TILE + GAP) + y) * image->width + (size_t)(left + x)) *
                    (size_t)channels +
                (size_t)c];
}

static void test_colour(void **state) {
  (void)state;
  png_image image;
  int different = 0;
  assert_int_equal(run("colour", "0", "5"), 0);
  uint8_t *p = read_picture(&image, 3);
  assert_int_equal(image.height, GAP + 5 * (TILE + GAP));
  assert_int_equal(image.width, GAP + COLUMNS * (TILE + GAP) + 2 * GAP);
  for (int row = 0; row < 5; row++)
    for (int column = 1; column < COLUMNS; column++)
      for (int i = 0; i < TILE * TILE * 3; i++) {
        int y = i / 3 / TILE, x = i / 3 % TILE, from = column < 4 ? x : TILE - 1 - x;
        int got = tile_at(&image, p, 3, row, column, y, x, i % 3);
        int want = tile_at(&image, p, 3, row, 0, y, from, i % 3);
        if (got != want)
          fail_msg("row %d column %d: (%d, %d) is %d, not %d", row, column, y, x, got, want);
        different += row > 0 && want != tile_at(&image, p, 3, 0, 0, y, from, i % 3);
      }
  assert_true(different > 1000); // other rows, other images
  free(p);
}

static void test_draws(void **state) {
  (void)state;
  png_image image;
  size_t n;
  int changed = 0;
  assert_int_equal(run("grey", "3", "6"), 0);
  uint8_t *p = read_picture(&image, 1);
  for (int row = 0; row < 6; row++)
    for (int i = 0; i < TILE * TILE; i++) {
      int y = i / TILE, x = i % TILE;
      changed += tile_at(&image, p, 1, row, 1, y, x, 0) != tile_at(&image, p, 1, row, 2, y, x, 0);
      assert_int_equal(tile_at(&image, p, 1, row, 0, y, x, 0),
                       tile_at(&image, p, 1, row, 5, y, x, 0));
    }
  assert_true(changed > 1000); // each epoch its draw
  free(p);
  char *first = rt_read(file, &n);
  assert_int_equal(run("grey", "3", "6"), 0);
  size_t m;
  char *again = rt_read(file, &m);
  assert_true(n == m && memcmp(first, again, n) == 0);
  free(again);
  assert_int_equal(run("grey", "4", "6"), 0);
  again = rt_read(file, &m);
  assert_false(n == m && memcmp(first, again, n) == 0);
  free(first), free(again);
}

// A refusal leaves the picture that is there, and nothing beside it.
static void test_refusals(void **state) {
  (void)state;
  assert_int_equal(run("grey", "0", "1"), 0);
  size_t n, m;
  char *before = rt_read(file, &n);
  assert_int_equal(run("array", "0", "1"), 1);
  assert_int_equal(run("colors", "0", "1"), 2);
  char *after = rt_read(file, &m);
  assert_true(n == m && memcmp(before, after, n) == 0);
  free(before), free(after);
  assert_int_equal(rt_files_in(folder), 1);
  file = rt_path(folder, "no/such/folder.png");
  assert_int_equal(run("grey", "0", "1"), 1);
  file = folder;
  assert_int_equal(run("grey", "0", "1"), 1);
  assert_int_equal(rt_files_in(folder), 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_colour),
      cmocka_unit_test(test_draws),
      cmocka_unit_test(test_refusals),
  };
  folder = rt_mkdir();
  char *picture = strdup(rt_path(folder, "grid.png"));
  file = picture;
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  free(picture);
  rt_rmdir(folder);
  return failed;
}
