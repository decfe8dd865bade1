// view_grid.c: `views`, a picture of what a program's model sees.
//
// A row for each of several images, spread over the training split: the image as it is stored, then
// for every place where the program applies a view what it makes of the image in the first epochs
// of a run with this seed. Normalised pixels are turned back to 0 … 255.
#include "picture.h"
#include "trainer.h"
#include "views.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  EPOCHS = 3,       // of each view
  ROWS = 8,         // where --rows is not given
  LEAST_TILE = 112, // pixels a side: smaller views are shown larger
  MOST_SIDE = 32768,
  GAP = 4, // between tiles, and twice that between views
};

struct grid {
  const struct bt_session *session;
  struct bt_picture picture;
  int rows, places; // of views
  int tile;         // its side
};

static bool shows(const struct bt_session *s, int input) {
  return s->program->inputs[input].kind == BT_INPUT_VIEW && s->program->inputs[input].view >= 0;
}

static int tile_left(const struct grid *g, int place, int epoch) {
  int column = place < 0 ? 0 : 1 + place * EPOCHS + epoch;
  return GAP + column * (g->tile + GAP) + (place + 1) * GAP;
}

static int tile_top(const struct grid *g, int row) { return GAP + row * (g->tile + GAP); }

static uint8_t to_byte(double v) { // NaN is black
  return v > 0 ? (uint8_t)(v < 255 ? v + 0.5 : 255) : 0;
}

// What the picture's pixel (y, x) of an image shown as h × w is: the mean of the pixels it covers,
// at least of one.
static double covered(const float *plane, int height, int width, int h, int w, int y, int x) {
  int top = (int)((int64_t)y * height / h), bottom = (int)((int64_t)(y + 1) * height / h);
  int left = (int)((int64_t)x * width / w), right = (int)((int64_t)(x + 1) * width / w);
  double sum = 0;
  if (bottom == top) bottom++;
  if (right == left) right++;
  for (int i = top; i < bottom; i++)
    for (int j = left; j < right; j++) sum += plane[(ptrdiff_t)i * width + j];
  return sum / ((double)(bottom - top) * (right - left));
}

// Puts an image, planes of 0 … 255, into the middle of a tile, as large as it fits. A picture in
// colour shows the first three channels, one in grey the first.
static void put(struct grid *g, int top, int left, const float *pixels, int height, int width) {
  struct bt_picture *p = &g->picture;
  int longer = height > width ? height : width;
  int h = (int)((int64_t)g->tile * height / longer), w = (int)((int64_t)g->tile * width / longer);
  if (h < 1) h = 1;
  if (w < 1) w = 1;
  top += (g->tile - h) / 2, left += (g->tile - w) / 2;
  for (int y = 0; y < h; y++)
    for (int x = 0; x < w; x++)
      for (int c = 0; c < p->channels; c++) {
        double v = covered(pixels + (ptrdiff_t)c * height * width, height, width, h, w, y, x);
        p->pixels[((ptrdiff_t)(top + y) * p->width + left + x) * p->channels + c] = to_byte(v);
      }
}

// ---- rows -------------------------------------------------------------------------------------

// A view's results are 0 … 1, or normalised by its last step of that kind.
static void denormalise(const struct bt_view *view, int channels, int64_t plane, float *pixels) {
  const double *normal = NULL;
  for (int i = 0; i < view->n_steps; i++)
    if (view->steps[i].kind == BT_VIEW_normalize) normal = view->steps[i].arg;
  for (int c = 0; c < channels; c++)
    for (int64_t i = 0; i < plane; i++) {
      float *p = &pixels[c * plane + i];
      *p = normal ? (float)(255 * (*p * normal[4 + c] + normal[c])) : 255 * *p;
    }
}

static bool put_stored(struct grid *g, int row, const struct bt_raster *r, char *err,
                       size_t errlen) {
  const int64_t image[3] = {r->channels, r->height, r->width};
  struct bt_view_plan *raw = bt_view_plan_new(NULL, image, 1, err, errlen);
  if (!raw) return false;
  float *pixels = bt_xcalloc((size_t)bt_count(3, image), sizeof *pixels);
  bool ok = bt_view_apply(raw, 0, r, 0, (struct bt_view_key){0, 0, 0}, pixels, err, errlen);
  if (ok) put(g, tile_top(g, row), tile_left(g, -1, 0), pixels, r->height, r->width);
  free(pixels);
  bt_view_plan_free(raw);
  return ok;
}

static bool put_view(struct grid *g, int row, int place, int input, const struct bt_raster *r,
                     uint32_t index, char *err, size_t errlen) {
  const struct bt_session *s = g->session;
  const struct bt_input *in = &s->program->inputs[input];
  int64_t shape[3];
  bt_view_plan_shape(s->plans[input], shape);
  float *pixels = bt_xcalloc((size_t)bt_count(3, shape), sizeof *pixels);
  bool ok = true;
  for (uint32_t epoch = 0; ok && epoch < EPOCHS; epoch++) {
    struct bt_view_key key = {(uint64_t)s->options->seed, epoch, (uint32_t)in->site};
    ok = bt_view_apply(s->plans[input], 0, r, index, key, pixels, err, errlen);
    if (!ok) break;
    denormalise(&s->module->views[in->view], (int)shape[0], shape[1] * shape[2], pixels);
    put(g, tile_top(g, row), tile_left(g, place, (int)epoch), pixels, (int)shape[1], (int)shape[2]);
  }
  free(pixels);
  return ok;
}

static bool put_row(struct grid *g, int row, struct bt_image_room *room, char *err, size_t errlen) {
  const struct bt_session *s = g->session;
  const struct bt_split *train = &s->data->train;
  int64_t i;
  struct bt_raster r;
  if (!bt_images_take(train->images, row * train->n / g->rows, room, &r, &i, err, errlen)) return false;
  if (!put_stored(g, row, &r, err, errlen)) return false;
  for (int input = 0, place = 0; input < s->program->n_inputs; input++)
    if (shows(s, input) && !put_view(g, row, place++, input, &r, (uint32_t)i, err, errlen))
      return false;
  return true;
}

// ---- the picture ------------------------------------------------------------------------------

static bool measure(struct grid *g, char *err, size_t errlen) {
  const struct bt_session *s = g->session;
  int64_t largest = 0, shape[3];
  for (int i = 0; i < s->program->n_inputs; i++) {
    if (!shows(s, i)) continue;
    bt_view_plan_shape(s->plans[i], shape);
    if (shape[1] > largest) largest = shape[1];
    if (shape[2] > largest) largest = shape[2];
    g->picture.channels = shape[0] >= 3 ? 3 : 1;
    g->places++;
  }
  if (g->places == 0)
    return bt_fail(err, errlen,
                   "program %s applies no view: name another, as in '%s views PROGRAM'",
                   s->program->name, s->options->self);
  int64_t rows = s->options->rows ? s->options->rows : ROWS;
  if (rows > s->data->train.n) rows = s->data->train.n;
  g->tile = (int)(largest * ((LEAST_TILE + largest - 1) / largest)); // pixels enlarged alike
  g->picture.width = tile_left(g, g->places - 1, EPOCHS - 1) + g->tile + GAP;
  int64_t height = GAP + rows * (g->tile + GAP);
  if (g->picture.width > MOST_SIDE || height > MOST_SIDE)
    return bt_fail(err, errlen,
                   "a picture of %d×%" PRId64 " pixels is too large: give fewer --rows",
                   g->picture.width, height);
  g->rows = (int)rows, g->picture.height = (int)height;
  return true;
}

static bool draw(struct grid *g, char *err, size_t errlen) {
  struct bt_picture *p = &g->picture;
  struct bt_image_room room = {0};
  bool ok = measure(g, err, errlen);
  size_t bytes = ok ? (size_t)p->height * (size_t)p->width * (size_t)p->channels : 0;
  if (ok) p->pixels = bt_xcalloc(bytes, 1);
  if (ok) memset(p->pixels, 255, bytes);
  for (int row = 0; ok && row < g->rows; row++) ok = put_row(g, row, &room, err, errlen);
  bt_image_room_free(&room);
  return ok;
}

int bt_view_grid(const struct bt_module *module, const struct bt_options *o) {
  char err[4096];
  struct bt_session s;
  if (!bt_session_prepare(&s, module, o->program, o, 1, err, sizeof err))
    return bt_report_error(o, err);
  struct grid g = {.session = &s};
  bool ok = draw(&g, err, sizeof err) && bt_png_write(o->out, &g.picture, err, sizeof err);
  if (ok && !o->quiet)
    fprintf(stderr, "%s: %d images, as they are and by %d view%s, %d times each\n", o->out,
            g.rows, g.places, g.places == 1 ? "" : "s", EPOCHS);
  free(g.picture.pixels);
  bt_session_close(&s);
  return ok ? 0 : bt_report_error(o, err);
}
