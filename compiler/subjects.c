// subjects.c: the regions that were asked for. See subjects.h.
#include <string.h>

#include "arguments.h"
#include "driver.h"
#include "subjects.h"

static const struct loc nowhere;

static bool add_regions(struct program *p, struct model *m, subject_list *all) {
  struct btc *b = m->b;
  bool stopped;
  if (p->loss) model_differentiate(m, p);
  struct graph *g = passes_run(b, p->graph, &stopped);
  if (!g || b->n_errors) return false;
  struct regions *rs = outline(g);
  for (int i = 0; i < rs->list.len; i++) {
    region_derive(&rs->list.data[i]);
    vec_push(b->arena, all, &rs->list.data[i]);
  }
  return true;
}

static bool of_function(struct btc *b, const struct settings *s, subject_list *all) {
  value_list given = {0};
  struct model *m = arguments_read(b, s, &given);
  struct program *p = m ? arguments_gradients(m, s->function, &given) : NULL;
  return p && b->n_errors == 0 && add_regions(p, m, all);
}

static bool of_programs(struct btc *b, const struct settings *s, subject_list *all) {
  struct model *m = driver_model(b, s->operands.data[0]);
  struct program *only = m && s->program ? driver_program(m, s->program) : NULL;
  if (!m || b->n_errors) return false;
  for (int i = 0; i < m->programs.len; i++)
    if ((!only || only == &m->programs.data[i]) && !add_regions(&m->programs.data[i], m, all)) return false;
  return true;
}

static struct region *region_at(struct btc *b, const subject_list *all, const char *address) {
  const char **names = NEW_ARRAY(b->arena, const char *, all->len);
  const char *list = "";
  for (int i = 0; i < all->len; i++) {
    names[i] = all->data[i]->address;
    if (str_eq(names[i], address)) return all->data[i];
    if (all->data[i]->variants.len > 1) list = str_printf(b->arena, "%s%s%s", list, *list ? ", " : "", names[i]);
  }
  const char *near = str_nearest(address, names, all->len);
  if (near) diag_error(b, nowhere, "there is no region '%s'; did you mean '%s'?", address, near);
  else if (*list) diag_error(b, nowhere, "there is no region '%s'; these have several variants: %s", address, list);
  else diag_error(b, nowhere, "there is no region '%s', and none that has several variants", address);
  return NULL;
}

bool subjects_find(struct btc *b, const struct settings *s, const struct target *t, subject_list *list) {
  subject_list all = {0};
  (void)t;
  if (!(s->function ? of_function(b, s, &all) : of_programs(b, s, &all))) return false;
  for (int i = 1; i < s->operands.len; i++) {
    struct region *r = region_at(b, &all, s->operands.data[i]);
    if (r) vec_push(b->arena, list, r);
  }
  for (int i = 0; s->operands.len == 1 && i < all.len; i++)
    if (all.data[i]->variants.len > 1) vec_push(b->arena, list, all.data[i]);
  if (b->n_errors == 0 && list->len == 0) diag_error(b, nowhere, "%s has no region with several variants", s->operands.data[0]);
  return b->n_errors == 0;
}
