// elab_view.c: views, the random or fixed ways from stored images to tensors. A view's body is run
// at compile time into a list of steps, with the rows of views.def; applying it makes an input
// leaf.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "elab.h"
#include "views.h"

// ---- argument rows of .def files --------------------------------------------------------------

static int slot_width(enum slot_kind kind) {
  return kind == SLOT_CHANNELS ? 4 : kind == SLOT_RANGE ? 2 : 1;
}

// The words "a|b|c" from s to end.
static void slot_words(struct arena *a, struct slot *slot, const char *s, const char *end) {
  slot->has_default = true;
  while (s < end) {
    size_t n = strcspn(s, "| ");
    expect(slot->n_words < SLOT_WORDS, "more than %d words to choose from", SLOT_WORDS);
    slot->words[slot->n_words++] = str_ndup(a, s, n);
    s += n + 1;
  }
}

static struct slot slot_parse(struct arena *a, const char *s, size_t length) {
  struct slot slot = {0};
  size_t name = strcspn(s, ":= ");
  slot.name = str_ndup(a, s, name < length ? name : length);
  const char *equals = memchr(s, '=', length);
  if (strncmp(s + name, ":range", 6) == 0) slot.kind = SLOT_RANGE;
  if (strncmp(s + name, ":channels", 9) == 0) slot.kind = SLOT_CHANNELS;
  if (strncmp(s + name, ":choice", 7) == 0) slot.kind = SLOT_CHOICE;
  if (!equals) return slot;
  if (slot.kind == SLOT_CHOICE) {
    slot_words(a, &slot, equals + 1, s + length);
    return slot;
  }
  char *end;
  slot.has_default = true;
  slot.value[0] = strtod(equals + 1, &end);
  // "0.08..1.0": strtod stops at the second dot, which is the range's first.
  if (slot.kind == SLOT_RANGE) slot.value[1] = strtod(strstr(equals, "..") + 2, NULL);
  return slot;
}

int slots_parse(struct arena *a, const char *text, struct slot *slots, int most) {
  int n = 0, at = 0;
  for (const char *s = text; *s;) {
    size_t length = strcspn(s, " ");
    expect(n < most, "too many arguments in \"%s\"", text);
    slots[n] = slot_parse(a, s, length);
    slots[n].at = at;
    at += slot_width(slots[n++].kind);
    s += length;
    s += *s == ' ';
  }
  return n;
}

static bool slot_range(struct elab *e, struct frame *f, const struct slot *s, const struct given *g,
                       double *arg, const char *what) {
  if (g->value.kind == V_RANGE) {
    arg[s->at] = g->value.low;
    arg[s->at + 1] = g->value.high;
    return true;
  }
  elab_error(e, f, g->loc, "`%s` of %s is a range, as in `%s: %g..%g`, not %s", s->name, what,
             s->name, s->value[0], s->value[1], value_text(e, &g->value));
  return false;
}

static bool slot_channels(struct elab *e, struct frame *f, const struct slot *s,
                          const struct given *g, double *arg, const char *what, int *channels) {
  const struct value *v = &g->value;
  bool ok = v->kind == V_LIST && v->list->len >= 1 && v->list->len <= 4;
  for (int i = 0; ok && i < v->list->len; i++) {
    ok = value_is_number(&v->list->data[i]);
    if (ok) arg[s->at + i] = value_number(&v->list->data[i]);
  }
  if (!ok) {
    elab_error(e, f, g->loc,
               "`%s` of %s is a list of one number for each channel, at most 4, not %s", s->name,
               what, value_text(e, v));
    return false;
  }
  if (*channels && *channels != v->list->len) {
    elab_error(e, f, g->loc, "`%s` of %s has %d number%s where there %s %d channel%s", s->name,
               what, v->list->len, v->list->len == 1 ? "" : "s", *channels == 1 ? "is" : "are",
               *channels, *channels == 1 ? "" : "s");
    return false;
  }
  *channels = v->list->len;
  return true;
}

static bool slot_choice(struct elab *e, struct frame *f, const struct slot *s,
                        const struct given *g, double *arg, const char *what) {
  const struct value *v = &g->value;
  const char *words = "";
  for (int i = 0; i < s->n_words; i++) {
    if (v->kind == V_STRING && str_eq(v->string, s->words[i])) {
      arg[s->at] = i;
      return true;
    }
    words = str_printf(e->b->arena, "%s%s\"%s\"", words, i == 0 ? "" : i < s->n_words - 1 ? ", " : " or ",
                       s->words[i]);
  }
  elab_error(e, f, g->loc, "`%s` of %s is %s, not %s%s", s->name, what, words, value_text(e, v),
             v->kind == V_STRING ? did_you_mean(e, v->string, s->words, s->n_words) : "");
  return false;
}

bool slot_fill(struct elab *e, struct frame *f, const struct slot *s, const struct given *g,
               double *arg, const char *what, int *channels) {
  if (!g->present) {
    for (int i = 0; i < slot_width(s->kind) && i < 2; i++) arg[s->at + i] = s->value[i];
    return true;
  }
  if (g->value.kind == V_ERROR) return false;
  if (s->kind == SLOT_RANGE) return slot_range(e, f, s, g, arg, what);
  if (s->kind == SLOT_CHANNELS) return slot_channels(e, f, s, g, arg, what, channels);
  if (s->kind == SLOT_CHOICE) return slot_choice(e, f, s, g, arg, what);
  if (value_is_number(&g->value)) {
    arg[s->at] = value_number(&g->value);
    return true;
  }
  elab_error(e, f, g->loc, "`%s` of %s is a number, not %s", s->name, what,
             value_text(e, &g->value));
  return false;
}

// ---- steps ------------------------------------------------------------------------------------

static const struct {
  const char *name, *arguments;
} step_rows[] = {
#define VIEW_STEP(name, size, arguments) {#name, arguments},
#include "../runtime/views.def"
#undef VIEW_STEP
};
enum { N_STEPS = sizeof step_rows / sizeof *step_rows, STEP_LABELS = 12 };

// What a view does to the images it is applied to, while its body runs.
struct view_run {
  const char *name;
  int64_t image[3]; // channels, height, width of what comes in; 0: not known
  VEC(struct bt_view_step) steps;
  int channels;          // 0: not known
  int64_t height, width; // 0: not known
};

static const char *const step_names[] = {
#define VIEW_STEP(name, ...) #name,
#include "../runtime/views.def"
#undef VIEW_STEP
};

static bool step_arguments(struct elab *e, struct frame *f, const struct stmt *s, int row,
                           struct view_run *run, struct bt_view_step *step) {
  struct slot slots[STEP_LABELS];
  struct label labels[STEP_LABELS];
  struct given given[STEP_LABELS];
  int n = slots_parse(e->b->arena, step_rows[row].arguments, slots, STEP_LABELS),
      channels = run->channels;
  for (int i = 0; i < n; i++)
    labels[i] = (struct label){.name = slots[i].name, .required = !slots[i].has_default};
  const char *what = str_printf(e->b->arena, "`%s`", s->name.name);
  if (!args_match(e, f, &s->args, s->loc, what, labels, n, given)) return false;
  bool ok = true;
  for (int i = 0; i < n; i++)
    ok = slot_fill(e, f, &slots[i], &given[i], step->arg, what, &channels) && ok;
  return ok;
}

// "`a`, `b` and `c`".
static const char *all_steps(struct elab *e) {
  const char *text = "";
  for (int i = 0; i < N_STEPS; i++)
    text = str_printf(e->b->arena, "%s%s`%s`", text, i == 0 ? "" : i < N_STEPS - 1 ? ", " : " and ", step_names[i]);
  return text;
}

// The runtime's own judgement of the steps so far, of which the last is new.
static bool check_step(struct elab *e, struct frame *f, const struct stmt *s, struct view_run *run) {
  const struct bt_view view = {run->name, run->steps.len, run->steps.data};
  char err[1024];
  if (!run->image[0] || bt_view_check(&view, run->image, err, sizeof err)) return true;
  elab_error(e, f, s->loc, "%s", err);
  run->steps.len--; // those behind it are judged by themselves
  return false;
}

static bool run_step(struct elab *e, struct frame *f, const struct stmt *s) {
  struct view_run *run = f->view;
  int row = 0;
  while (row < N_STEPS && !str_eq(step_rows[row].name, s->name.name)) row++;
  if (row == N_STEPS) {
    const char *mend = did_you_mean(e, s->name.name, step_names, N_STEPS);
    elab_error(e, f, s->name.loc, "unknown view step `%s`%s%s", s->name.name,
               *mend ? str_printf(e->b->arena, "%s There are ", mend) : "; there are ", all_steps(e));
    return false;
  }
  struct bt_view_step step = {.kind = (enum bt_view_kind)row};
  if (!step_arguments(e, f, s, row, run, &step)) return false;
  bool makes_size = strncmp(step_rows[row].arguments, "size", 4) == 0;
  if (makes_size && !(step.arg[0] >= 1 && step.arg[0] <= BT_VIEW_MOST_SIDE && step.arg[0] == floor(step.arg[0]))) {
    elab_error(e, f, s->loc, "`%s` makes images of a whole number of pixels, not %g", s->name.name,
               step.arg[0]);
    return false;
  }
  bt_view_step_size(&step, &run->height, &run->width);
  vec_push(e->b->arena, &run->steps, step);
  return check_step(e, f, s, run);
}

static bool view_statement(struct elab *e, struct frame *f, const struct stmt *s) {
  if (s->kind == S_CALL && str_eq(s->name.name, "fail")) return body_statement(e, f, s);
  if (s->kind == S_CALL) return run_step(e, f, s);
  elab_error(e, f, s->loc,
             "a view has steps, such as `horizontal_flip(p: 0.5)`, and `let`, `if`, `for`");
  return false;
}

// ---- applying ---------------------------------------------------------------------------------

static bool same_steps(const struct view_decl *v, const struct view_run *run) {
  if (v->steps.len != run->steps.len) return false;
  for (int i = 0; i < v->steps.len; i++)
    if (memcmp(&v->steps.data[i], &run->steps.data[i], sizeof v->steps.data[i]) != 0) return false;
  return true;
}

// Equal views of one declaration are one row of the model's table.
static int view_index(struct elab *e, const struct entry *n, const struct view_run *run) {
  struct model *m = e->model;
  for (int i = 0; i < m->views.len; i++)
    if (str_eq(m->views.data[i].name, n->name) && same_steps(&m->views.data[i], run)) return i;
  struct view_decl v = {.name = n->name, .loc = n->decl->name.loc};
  for (int i = 0; i < run->steps.len; i++) vec_push(e->b->arena, &v.steps, run->steps.data[i]);
  vec_push(e->b->arena, &m->views, v);
  return m->views.len - 1;
}

static bool sizes_known(struct elab *e, struct frame *f, const struct entry *n,
                        const struct data *d, const int64_t *dim, struct loc call) {
  if (dim[1] == 0)
    elab_error(
        e, f, call,
        "how many channels `%s` has is not known: write it in its type, as in `u8[%lld, 3, _, _]`",
        d->name, (long long)dim[0]);
  else if (dim[2] == 0 || dim[3] == 0)
    elab_error(e, f, call,
               "the size of the images that `%s` makes is not known: give the view a step that "
               "fixes it, as `center_crop(32)`, or `%s` its size",
               n->name, d->name);
  else
    return true;
  elab_note(e, d->loc, "`%s` is declared here", d->name);
  elab_note(e, n->decl->name.loc, "and the view here");
  return false;
}

void view_check(struct elab *e, struct frame *f, const struct block *body) {
  struct view_run run = {0};
  f->view = &run;
  block_run(e, f, body, view_statement);
}

static struct value view_tensor(struct elab *e, struct frame *f, const struct entry *n,
                                struct view_run *run, const struct data *d, struct loc call) {
  int64_t dim[4] = {d->dim[0], d->dim[1], run->height, run->width};
  if (!sizes_known(e, f, n, d, dim, call)) return value_error();
  struct tensor_type t = {BT_F32, shape_of(4, dim[0], dim[1], dim[2], dim[3])};
  if (!size_fits(e, f, call, &t.shape)) return value_error();
  graph_at(e, f, call);
  struct node *leaf =
      program_input(e, d->name, BT_INPUT_VIEW, view_index(e, n, run), e->program->sites++, &t);
  struct value v = value_tensor(call, leaf);
  for (int i = 0; i < 4; i++) v.axes[i] = d->dim[i] == dim[i] ? d->axes[i] : NULL;
  return v;
}

struct value view_apply(struct elab *e, struct frame *f, struct value view, struct value data,
                        struct loc call) {
  struct entry *n = view.entry;
  if (data.kind == V_ERROR) return data;
  if (data.kind != V_DATA) {
    elab_error(e, f, call,
               "the view `%s` takes images as they are stored, declared by `data x: u8[batch, 3, "
               "_, _]`, not %s",
               n->name, value_text(e, &data));
    return value_error();
  }
  const struct data *d = data.data;
  struct frame *body = frame_push(e, f, n->unit, n->decl, call);
  if (!body) return value_error();
  n->applied = true;
  struct view_run run = {.name = n->name, .image = {d->dim[1], d->dim[2], d->dim[3]},
                         .channels = (int)d->dim[1], .height = d->dim[2], .width = d->dim[3]};
  body->view = &run;
  if (view.config) frame_bind_config(e, body, n->decl, view.config);
  block_run(e, body, n->decl->body, view_statement);
  if (body->unfinished) return value_error();
  return view_tensor(e, f, n, &run, d, call);
}
