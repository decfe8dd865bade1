// subjects.c: what was asked for. See subjects.h.
#include "codegen.h"
#include "function_inputs.h"
#include "subjects.h"

static const struct loc nowhere;

static struct program *function_of(struct btc *b, const struct settings *s, struct model **m) {
  named_types inputs = {0};
  *m = function_inputs(b, s, &inputs);
  return *m ? model_function(*m, s->function, inputs.data, inputs.len, true) : NULL;
}

static struct program *program_of(struct btc *b, const struct settings *s, struct model **m) {
  *m = driver_model(b, s->operands.data[0]);
  return *m ? driver_program(*m, s->program) : NULL;
}

struct model *subject_model(struct btc *b, const struct settings *s) {
  struct model *m;
  if (!s->function && !s->program) return driver_model(b, s->operands.data[0]);
  struct program *p = s->function ? function_of(b, s, &m) : program_of(b, s, &m);
  if (!p) return NULL;
  driver_keep(m, p);
  return m;
}

static bool add_regions(struct program *p, struct model *m, struct choices *choices, subject_list *all) {
  struct regions *rs;
  if (!codegen_regions(m, p, choices, &rs)) return false;
  for (int i = 0; i < rs->list.len; i++) {
    region_derive(&rs->list.data[i]);
    vec_push(m->b->arena, all, &rs->list.data[i]);
  }
  return true;
}

static bool find_all(struct btc *b, const struct settings *s, const struct target *t, subject_list *all) {
  struct model *m = subject_model(b, s);
  if (!m || b->n_errors) return false;
  struct choices *choices = choices_begin(m, t);
  for (int i = 0; i < m->programs.len; i++)
    if (!add_regions(&m->programs.data[i], m, choices, all)) return false;
  choices_end(choices);
  return b->n_errors == 0;
}

static void no_such_region(struct btc *b, const subject_list *all, const char *pattern) {
  const char **names = NEW_ARRAY(b->arena, const char *, all->len);
  for (int i = 0; i < all->len; i++) names[i] = all->data[i]->address;
  diag_error(b, nowhere, "no region is called '%s'%s", pattern, region_near(b->arena, pattern, names, all->len, region_listed));
}

static bool is_asked(struct region *r, const char *pattern, bool *any) {
  bool asked = region_matches(pattern, r->address);
  *any |= asked;
  return asked;
}

bool subjects_find(struct btc *b, const struct settings *s, const struct target *t, subject_list *list) {
  subject_list all = {0};
  bool *of_use = NEW_ARRAY(b->arena, bool, s->operands.len);
  if (!find_all(b, s, t, &all)) return false;
  for (int i = 0; i < all.len; i++) {
    bool wanted = s->operands.len == 1 && all.data[i]->variants.len > 1;
    for (int k = 1; k < s->operands.len; k++) wanted |= is_asked(all.data[i], s->operands.data[k], &of_use[k]);
    if (wanted) vec_push(b->arena, list, all.data[i]);
  }
  for (int k = 1; k < s->operands.len; k++)
    if (!of_use[k]) no_such_region(b, &all, s->operands.data[k]);
  if (b->n_errors == 0 && list->len == 0) diag_error(b, nowhere, "%s has no region with several variants", s->operands.data[0]);
  return b->n_errors == 0;
}
