// tuned.c: the store of measured choices. See tuned.h.
//
//   {"version": 1,
//    "processors": {"Intel(R) Xeon(R) Processor, 2 threads, 16 lanes": {
//      "0123456789abcdef": {"region": "pretrain/objective", "variant": "gram", "mc": 96, "ms": 4.5, "default_ms": 5.1}}}}
//
// It is a cache: what cannot be read is ignored, with a warning, and the next tune writes it anew.
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../runtime/btrt_internal.h"
#include "driver.h"
#include "machine.h"
#include "tuned.h"

static const struct loc nowhere;
enum { VERSION = 1 };

struct tuned {
  VEC(struct tuned_entry) entries; // of this processor
};

// ---- keys -------------------------------------------------------------------------------------

const char *tuned_path(struct btc *b) {
  const char *given = getenv("BTC_TUNED"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  if (b->opt.no_tuned) return NULL;
  if (given) return *given ? given : NULL;
  if (cache && *cache == '/') return str_printf(b->arena, "%s/btc/tuned.json", cache);
  return home && *home ? str_printf(b->arena, "%s/.cache/btc/tuned.json", home) : NULL;
}

static const char *processor_key(struct arena *a, int threads, int lanes) {
  char name[128];
  machine_processor(name, sizeof name);
  return str_printf(a, "%s, %d threads, %d lanes", name, threads, lanes);
}

// Nodes are numbered as they are met from the outputs on, so that their order in the graph, which depends on
// what else the program has, does not count.
struct shape_writer {
  FILE *out;
  struct arena *arena;
  int *number; // by node id; 0: not met yet
  int met;
};

static void write_node(struct shape_writer *w, const struct node *n) {
  if (w->number[n->id]) return;
  for (int i = 0; i < n->n_in; i++) write_node(w, n->in[i]);
  w->number[n->id] = ++w->met;
  fprintf(w->out, "%s %s", op_info(n->op)->name, type_text(w->arena, &n->type));
  for (int i = 0; i < n->attr.n; i++) fprintf(w->out, " %lld", (long long)n->attr.i[i]);
  for (int i = 0; i < n->n_in; i++) fprintf(w->out, " %%%d", w->number[n->in[i]->id]);
  fputc('\n', w->out);
}

const char *tuned_shape(struct arena *a, const struct region *r) {
  const struct graph *g = r->variants.data[0].graph;
  char *text = NULL;
  size_t length;
  struct shape_writer w = {.out = open_memstream(&text, &length), .arena = a, .number = NEW_ARRAY(a, int, g->nodes.len)};
  expect(w.out, "out of memory");
  for (int i = 0; i < g->outputs.len; i++) {
    write_node(&w, g->outputs.data[i].node);
    fprintf(w.out, "out %%%d\n", w.number[g->outputs.data[i].node->id]);
  }
  fclose(w.out);
  uint64_t hash = str_hash(text);
  free(text);
  return str_printf(a, "%016llx", (unsigned long long)hash);
}

// ---- reading ----------------------------------------------------------------------------------

// NULL, without *damaged: there is none yet.
static json_t *load(const char *path, bool *damaged) {
  *damaged = false;
  if (access(path, F_OK) != 0) return NULL;
  json_t *root = json_load_file(path, 0, NULL);
  *damaged = !root || json_integer_value(json_object_get(root, "version")) != VERSION || !json_is_object(json_object_get(root, "processors"));
  if (!*damaged) return root;
  json_decref(root);
  return NULL;
}

static bool read_entry(struct arena *a, const char *shape, const json_t *o, struct tuned_entry *entry) {
  const char *variant = json_string_value(json_object_get(o, "variant"));
  if (!variant) return false;
  *entry = (struct tuned_entry){.shape = str_printf(a, "%s", shape), .request.variant = str_printf(a, "%s", variant)};
  for (int i = 0; i < VARIANT_ARGUMENTS; i++) {
    const json_t *value = json_object_get(o, variant_arguments[i].name);
    if (!value) continue;
    json_int_t n = json_integer_value(value);
    if (!variant_argument_fits(n)) return false;
    *variant_argument(&entry->request, i) = n;
  }
  return !variant_request_fault(a, &entry->request, variant_takes(variant));
}

static void warn(struct btc *b, const char *path) {
  diag_warning(b, nowhere, "%s is damaged: what was tuned is ignored; `btc tune` makes it anew", path);
}

static struct tuned *read_store(struct btc *b, const struct target *t) {
  struct tuned *store = NEW(b->arena, struct tuned);
  const char *path = tuned_path(b), *shape;
  bool damaged = false;
  json_t *root = path ? load(path, &damaged) : NULL, *o;
  json_t *mine = json_object_get(json_object_get(root, "processors"), processor_key(b->arena, bt_cores_available(), t->lanes));
  json_object_foreach(mine, shape, o) {
    struct tuned_entry entry;
    if (read_entry(b->arena, shape, o, &entry)) vec_push(b->arena, &store->entries, entry);
    else damaged = true;
  }
  if (damaged) warn(b, path);
  json_decref(root);
  return store;
}

bool tuned_choice(const struct region *r, const struct target *t, struct variant_request *out) {
  struct btc *b = r->variants.data[0].graph->b;
  if (!b->tuned) b->tuned = read_store(b, t);
  if (b->tuned->entries.len == 0) return false;
  const char *shape = tuned_shape(b->arena, r);
  for (int i = 0; i < b->tuned->entries.len; i++)
    if (str_eq(b->tuned->entries.data[i].shape, shape)) return *out = b->tuned->entries.data[i].request, true;
  return false;
}

// ---- writing ----------------------------------------------------------------------------------

static bool make_folders(struct btc *b, const char *path) {
  char *folder = str_printf(b->arena, "%s", path);
  for (char *slash = strchr(folder + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    if (mkdir(folder, 0777) && errno != EEXIST) return diag_error(b, nowhere, "cannot make the folder %s: %s", folder, strerror(errno)), false;
    *slash = '/';
  }
  return true;
}

static json_t *member(json_t *o, const char *key) {
  if (!json_is_object(json_object_get(o, key))) json_object_set_new(o, key, json_object());
  return json_object_get(o, key);
}

static json_t *entry_json(const struct region *r, const struct tuned_entry *entry) {
  struct variant_request request = entry->request;
  json_t *o = json_pack("{s:s, s:s}", "region", r->address, "variant", request.variant);
  for (int i = 0; i < VARIANT_ARGUMENTS; i++) {
    int64_t value = *variant_argument(&request, i);
    if (value) json_object_set_new(o, variant_arguments[i].name, json_integer(value));
  }
  json_object_set_new(o, "ms", json_real(1e3 * entry->seconds));
  json_object_set_new(o, "default_ms", json_real(1e3 * entry->default_seconds));
  return o;
}

static bool save(struct btc *b, const char *path, const json_t *root) {
  struct output o;
  if (!output_begin(b, &o, path)) return false;
  if (json_dump_file(root, o.temporary, JSON_INDENT(1) | JSON_REAL_PRECISION(6) | JSON_SORT_KEYS) == 0) return output_commit(b, &o);
  diag_error(b, nowhere, "cannot write %s: %s", path, strerror(errno));
  output_abandon(&o);
  return false;
}

// Two tunes at once: each adds to what the other has written.
static int lock_folder(struct btc *b, const char *path) {
  const char *slash = strrchr(path, '/');
  int fd = open(slash ? str_ndup(b->arena, path, (size_t)(slash - path) + 1) : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) flock(fd, LOCK_EX);
  return fd;
}

bool tuned_add(struct btc *b, const struct region *r, const struct target *t, int threads, const struct tuned_entry *entry) {
  const char *path = tuned_path(b);
  if (!make_folders(b, path)) return false;
  int lock = lock_folder(b, path);
  bool damaged;
  json_t *root = load(path, &damaged);
  if (!root) root = json_pack("{s:i}", "version", VERSION);
  json_t *mine = member(member(root, "processors"), processor_key(b->arena, threads, t->lanes));
  json_object_set_new(mine, entry->shape, entry_json(r, entry));
  bool good = save(b, path, root);
  json_decref(root);
  if (lock >= 0) close(lock);
  return good;
}
