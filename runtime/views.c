// views.c: plans of views, and the way of an image through one. The steps are in view_steps.c.
#include "btrt_internal.h"
#include "views_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

struct workspace { // of one thread
  struct bt_view_room room;
  float *pixels, *spare;
  struct bt_scratch scratch;
};

struct bt_view_plan {
  const struct bt_view *view; // NULL: raw
  int channels;
  int64_t height, width; // 0: any
  int64_t out_height, out_width;
  int n_steps;             // that are applied one by one
  bool normalised;         // by a step, the last of all if `normalize` is not NULL
  const double *normalize; // the arguments of a last normalize: done on the way out
  int workers;
  struct workspace *workspaces;
};

// ---- sizes ------------------------------------------------------------------------------------

static const char *plan_name(const struct bt_view_plan *plan) {
  return plan->view ? plan->view->name : "raw";
}

// An image's way through the steps: its size, and the room that they take.
struct way {
  int64_t size[2]; // 0: not known
  struct bt_view_room room;
};

static bool crop_fits(const struct bt_view_plan *plan, const struct bt_view_step *step,
                      const int64_t size[2], char *err, size_t errlen) {
  int64_t shorter = size[0] < size[1] ? size[0] : size[1];
  if (step->kind != BT_VIEW_random_crop || shorter == 0) return true;
  if (step->arg[0] <= (double)shorter + 2 * step->arg[1]) return true;
  return bt_fail(err, errlen,
                 "view %s: random_crop(%g) of an image of %" PRId64 "×%" PRId64
                 " (height×width) needs a padding of at least %g",
                 plan_name(plan), step->arg[0], size[0], size[1],
                 ceil((step->arg[0] - (double)shorter) / 2));
}

static bool way_step(const struct bt_view_plan *plan, const struct bt_view_step *step,
                     struct way *way, char *err, size_t errlen) {
  const int64_t from[2] = {way->size[0], way->size[1]};
  bt_view_step_size(step, &way->size[0], &way->size[1]);
  if (from[0] == 0 || from[1] == 0) return true;
  if (!crop_fits(plan, step, from, err, errlen)) return false;
  int64_t longer = way->size[0] > way->size[1] ? way->size[0] : way->size[1];
  if (step->kind == BT_VIEW_resize && longer > BT_VIEW_MOST_SIDE)
    return bt_fail(err, errlen,
                   "view %s: resize(%g) makes %" PRId64 "×%" PRId64
                   " (height×width) of an image of %" PRId64 "×%" PRId64
                   "; more than %d a side is too much: cut it first, as by center_crop",
                   plan_name(plan), step->arg[0], way->size[0], way->size[1], from[0], from[1],
                   BT_VIEW_MOST_SIDE);
  bt_view_step_room(&way->room, step, plan->channels, from, way->size);
  return true;
}

static bool follow(const struct bt_view_plan *plan, int64_t height, int64_t width, struct way *way,
                   char *err, size_t errlen) {
  *way = (struct way){.size = {height, width}};
  for (int i = 0; plan->view && i < plan->view->n_steps; i++)
    if (!way_step(plan, &plan->view->steps[i], way, err, errlen)) return false;
  return true;
}

// ---- workspaces -------------------------------------------------------------------------------

static bool grow(void *block, size_t *have, size_t need, size_t element) {
  void **p = block;
  if (need <= *have) return true;
  free(*p);
  *p = aligned_alloc(BT_ALIGN, bt_round_up(need * element, BT_ALIGN));
  *have = *p ? need : 0;
  return *p != NULL;
}

// Both grow or neither counts: a failure leaves what is there with its sizes.
static bool grow_two(void *a, void *b, size_t *have, size_t need, size_t element) {
  size_t other = *have;
  bool ok = grow(a, have, need, element);
  ok = grow(b, &other, need, element) && ok;
  if (other < *have) *have = other;
  return ok;
}

static bool make_room(struct workspace *w, const struct bt_view_room *need) {
  struct bt_taps *v = &w->scratch.vertical, *h = &w->scratch.horizontal;
  return grow_two(&w->pixels, &w->spare, &w->room.pixels, need->pixels, sizeof(float)) &&
         grow_two(&v->weight, &h->weight, &w->room.weights, need->weights, sizeof(float)) &&
         grow_two(&v->first, &h->first, &w->room.firsts, need->firsts, sizeof(int)) &&
         grow(&w->scratch.strip, &w->room.strip, need->strip, sizeof(float));
}

static void free_workspace(struct workspace *w) {
  free(w->pixels), free(w->spare), free(w->scratch.strip);
  free(w->scratch.vertical.weight), free(w->scratch.vertical.first);
  free(w->scratch.horizontal.weight), free(w->scratch.horizontal.first);
}

// ---- the plan ---------------------------------------------------------------------------------

static bool check_steps(struct bt_view_plan *plan, char *err, size_t errlen) {
  struct bt_view_check check = {plan_name(plan), plan->channels, false, err, errlen};
  for (int i = 0; plan->view && i < plan->view->n_steps; i++)
    if (!bt_view_step_check(&check, &plan->view->steps[i])) return false;
  plan->normalised = check.normalised;
  return true;
}

bool bt_view_check(const struct bt_view *view, const int64_t image[3], char *err, size_t errlen) {
  struct bt_view_plan plan = {.view = view, .channels = (int)image[0]};
  struct way way;
  return check_steps(&plan, err, errlen) && follow(&plan, image[1], image[2], &way, err, errlen);
}

static bool check_result(const struct bt_view_plan *plan, char *err, size_t errlen) {
  if (plan->out_height > 0) return true;
  return bt_fail(
      err, errlen,
      "view %s: the images differ in size, and so would what it makes of them: give it a step "
      "that makes them alike, as random_resized_crop(224), or center_crop(224) after a resize",
      plan_name(plan));
}

static void plan_exit(struct bt_view_plan *plan) {
  plan->n_steps = plan->view ? plan->view->n_steps : 0;
  if (plan->n_steps == 0) return;
  const struct bt_view_step *last = &plan->view->steps[plan->n_steps - 1];
  if (last->kind != BT_VIEW_normalize) return;
  plan->normalize = last->arg;
  plan->n_steps--;
}

struct bt_view_plan *bt_view_plan_new(const struct bt_view *view, const int64_t image[3],
                                      int workers, char *err, size_t errlen) {
  struct bt_view_plan *plan = bt_xcalloc(1, sizeof *plan);
  *plan = (struct bt_view_plan){.view = view, .channels = (int)image[0], .workers = workers};
  plan->height = image[1], plan->width = image[2];
  plan->workspaces = bt_xcalloc((size_t)workers, sizeof *plan->workspaces);
  struct way way;
  bool ok = check_steps(plan, err, errlen) && follow(plan, image[1], image[2], &way, err, errlen);
  if (ok) plan->out_height = way.size[0], plan->out_width = way.size[1];
  ok = ok && check_result(plan, err, errlen);
  for (int i = 0; ok && i < workers; i++)
    if (!make_room(&plan->workspaces[i], &way.room))
      ok = bt_fail(err, errlen, "view %s: out of memory for %d workers", plan_name(plan), workers);
  if (!ok) return bt_view_plan_free(plan), NULL;
  plan_exit(plan);
  return plan;
}

void bt_view_plan_free(struct bt_view_plan *plan) {
  if (!plan) return;
  for (int i = 0; i < plan->workers; i++) free_workspace(&plan->workspaces[i]);
  free(plan->workspaces);
  free(plan);
}

void bt_view_plan_shape(const struct bt_view_plan *plan, int64_t shape[3]) {
  shape[0] = plan->channels, shape[1] = plan->out_height, shape[2] = plan->out_width;
}

size_t bt_view_plan_bytes(const struct bt_view_plan *plan) {
  size_t bytes = 0;
  for (int i = 0; i < plan->workers; i++) {
    const struct bt_view_room *room = &plan->workspaces[i].room;
    bytes += (2 * room->pixels + 2 * room->weights + room->strip) * sizeof(float) +
             2 * room->firsts * sizeof(int);
  }
  return bytes;
}

// ---- images -----------------------------------------------------------------------------------

// Raw pixels stay 0 … 255, others come out in 0 … 1 or normalised.
static struct bt_affine exit_affine(const struct bt_view_plan *plan, int channel) {
  if (plan->normalize) return bt_normalize_affine(plan->normalize, channel);
  return (struct bt_affine){plan->view && !plan->normalised ? 1 / 255.0f : 1, 0};
}

static void write_out(const struct bt_view_plan *plan, const struct bt_image *image, float *out) {
  ptrdiff_t plane = bt_image_plane(image);
  for (int c = 0; c < image->channels; c++) {
    struct bt_affine a = exit_affine(plan, c);
    if (image->bytes)
      bt_bytes_affine(out + c * plane, image->bytes + c * plane, plane, a.scale, a.shift);
    else
      bt_pixels_affine(out + c * plane, image->pixels + c * plane, plane, a.scale, a.shift);
  }
}

static bool check_image(const struct bt_view_plan *plan, const struct bt_raster *image, char *err,
                        size_t errlen) {
  bool fits = image->channels == plan->channels && image->height > 0 && image->width > 0 &&
              (!plan->height || image->height == plan->height) &&
              (!plan->width || image->width == plan->width);
  return fits || bt_fail(err, errlen, "view %s: an image of %d×%d×%d (channels×height×width)",
                         plan_name(plan), image->channels, image->height, image->width);
}

bool bt_view_apply(struct bt_view_plan *plan, int worker, const struct bt_raster *image,
                   uint32_t index, struct bt_view_key key, float *out, char *err, size_t errlen) {
  struct workspace *work = &plan->workspaces[worker];
  struct way way;
  if (!check_image(plan, image, err, errlen) ||
      !follow(plan, image->height, image->width, &way, err, errlen))
    return false;
  if (!make_room(work, &way.room))
    return bt_fail(err, errlen, "view %s: out of memory for an image of %d×%d (height×width)",
                   plan_name(plan), image->height, image->width);
  struct bt_view_context c = {
      .scratch = &work->scratch,
      .image = {image->channels, image->height, image->width, image->pixels, work->pixels,
                work->spare, false},
      .random = bt_random_new(key.seed, BT_RANDOM_VIEW, index, key.epoch, key.site)};
  for (int i = 0; i < plan->n_steps; i++) bt_view_step_apply(&c, &plan->view->steps[i]);
  write_out(plan, &c.image, out);
  return true;
}
