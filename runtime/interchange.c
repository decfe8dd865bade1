// interchange.c: see interchange.h.
//
// An encoder's names, without the instance's, are those of torchvision or timm where they have the
// network. So their files are read as they are, and what is exported is loaded there.
#include "interchange.h"
#include "checkpoint.h"
#include "match.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// ---- one instance -----------------------------------------------------------------------------

static bool no_instance(const char *instance, char *err, size_t errlen) {
  return bt_fail(err, errlen, "there is no instance '%s' with parameters", instance);
}

// The instance's tensors in the file, compared.
static bool match(const struct st_file *f, const char *path, const struct bt_module *module,
                  const char *instance, struct bt_match *m, struct bt_selection *s, char *ignored,
                  size_t ignoredlen, char *err, size_t errlen) {
  *s = bt_select_instance(module, instance);
  *m = bt_match_instance(f, path, instance);
  return (s->n > 0 || no_instance(instance, err, errlen)) &&
         bt_checkpoint_format(f, path, err, errlen) &&
         bt_match_compare(m, s, ignored, ignoredlen, err, errlen);
}

static bool read_instance(const struct st_file *f, const char *path, const struct bt_module *module,
                          const char *instance, char *store, bool *given, char *note,
                          size_t notelen, char *err, size_t errlen) {
  char ignored[1000] = "";
  struct bt_match m;
  struct bt_selection s;
  bool ok = match(f, path, module, instance, &m, &s, ignored, sizeof ignored, err, errlen);
  if (ok) bt_match_copy(&m, &s, store);
  for (int i = 0; ok && given && i < s.n; i++) given[s.tensors[i] - module->tensors] = true;
  if (ok && !st_metadata(f, "btc.format"))
    bt_append(note, notelen, "%s: %d tensors from %s%s%s\n", instance, s.n, path,
        *ignored ? "; ignored: " : "", ignored);
  free(s.tensors);
  return ok;
}

bool bt_instance_load(const char *path, const struct bt_module *module, const char *instance,
                      char *store, bool *given, char *note, size_t notelen, char *err,
                      size_t errlen) {
  struct st_file *f = st_open(path, err, errlen);
  bool ok = f && read_instance(f, path, module, instance, store, given, note, notelen, err, errlen);
  st_close(f);
  return ok;
}

// ---- --init -----------------------------------------------------------------------------------

// Instances at the top of the program's file, by name.
struct tops {
  char **name;
  int n;
};

static struct tops tops_of(const struct bt_module *module, const struct bt_program *program) {
  struct tops t = {bt_xcalloc((size_t)program->n_tensors, sizeof *t.name), 0};
  for (int i = 0; i < program->n_tensors; i++) {
    const struct bt_tensor *tensor = &module->tensors[program->tensors[i]];
    char *name = bt_xstrndup(tensor->name, strcspn(tensor->name, "."));
    bool known = tensor->role == BT_OPTIMIZER;
    for (int k = 0; k < t.n; k++) known |= strcmp(t.name[k], name) == 0;
    if (known)
      free(name);
    else
      t.name[t.n++] = name;
  }
  return t;
}

static void tops_free(struct tops *t) {
  for (int i = 0; i < t->n; i++) free(t->name[i]);
  free(t->name);
}

// How many of an instance's tensors the file has, under names without the instance's.
static int count_bare(const struct st_file *f, const struct bt_module *module,
                      const char *instance) {
  struct bt_selection s = bt_select_instance(module, instance);
  int n = 0;
  for (int i = 0; i < s.n; i++) n += st_find(f, s.tensors[i]->name + strlen(instance) + 1) != NULL;
  free(s.tensors);
  return n;
}

// The instance that the file has most tensors of. NULL with err: none, or it cannot be told.
static const char *choose(const struct st_file *f, const char *path, const struct bt_module *module,
                          const struct tops *tops, char *err, size_t errlen) {
  int most = 0, best = -1, second = -1;
  for (int i = 0; i < tops->n; i++) {
    int n = count_bare(f, module, tops->name[i]);
    if (n && n == most) second = i;
    if (n > most) most = n, best = i, second = -1;
  }
  if (best < 0)
    bt_fail(err, errlen, "%s has no tensor of this program: neither as '%s.…' nor without '%s.'",
            path, tops->n ? tops->name[0] : "encoder", tops->n ? tops->name[0] : "encoder");
  else if (second >= 0)
    bt_fail(err, errlen, "%s could be '%s' or '%s': give --init %s=%s, or the other", path,
            tops->name[best], tops->name[second], tops->name[best], path);
  return best < 0 || second >= 0 ? NULL : tops->name[best];
}

static bool init_by_names(const struct st_file *f, const char *path, const struct bt_module *module,
                          const struct tops *tops, char *store, bool *given, char *note,
                          size_t notelen, char *err, size_t errlen) {
  int named = 0;
  for (int i = 0; i < tops->n; i++) {
    if (bt_match_instance(f, path, tops->name[i]).bare) continue;
    named++;
    if (!read_instance(f, path, module, tops->name[i], store, given, note, notelen, err, errlen))
      return false;
  }
  if (named) return true;
  const char *instance = choose(f, path, module, tops, err, errlen);
  return instance &&
         read_instance(f, path, module, instance, store, given, note, notelen, err, errlen);
}

// What the file has of others, where one instance is asked for. Of a file with bare names the rest is listed.
static void say_unused(const struct st_file *f, const char *path, const struct bt_module *module, const char *instance,
                       char *note, size_t notelen) {
  struct bt_selection s = bt_select_instance(module, instance);
  int unused = st_count(f) - s.n;
  if (unused > 0 && !bt_match_instance(f, path, instance).bare)
    bt_append(note, notelen, "%s: %d of %d tensors in %s are not its own, and are not used\n", instance, unused, st_count(f), path);
  free(s.tensors);
}

static bool has_instance(const struct bt_module *module, const char *instance) {
  struct bt_selection s = bt_select_instance(module, instance);
  free(s.tensors);
  return s.n > 0;
}

// Splits INSTANCE=FILE. A file may have such a name: then it is one.
static bool split(const char *argument, const struct bt_module *module, char **instance,
                  const char **path, char *err, size_t errlen) {
  const char *equals = strchr(argument, '=');
  *path = argument;
  if (!equals || access(argument, F_OK) == 0) return true;
  *instance = bt_xstrndup(argument, (size_t)(equals - argument));
  *path = equals + 1;
  return has_instance(module, *instance) || no_instance(*instance, err, errlen);
}

bool bt_instances_init(const char *argument, const struct bt_module *module,
                       const struct bt_program *program, char *store, bool *given, char *note,
                       size_t notelen, char *err, size_t errlen) {
  char *instance = NULL;
  const char *path;
  struct tops tops = tops_of(module, program);
  struct st_file *f = NULL;
  bool ok = split(argument, module, &instance, &path, err, errlen) &&
            (f = st_open(path, err, errlen)) != NULL;
  if (ok && instance)
    ok = read_instance(f, path, module, instance, store, given, note, notelen, err, errlen);
  if (ok && instance) say_unused(f, path, module, instance, note, notelen);
  if (ok && !instance)
    ok = init_by_names(f, path, module, &tops, store, given, note, notelen, err, errlen);
  st_close(f);
  tops_free(&tops);
  free(instance);
  return ok;
}

// ---- export -----------------------------------------------------------------------------------

static bool write_instance(const struct bt_match *m, const struct bt_selection *s, const char *to,
                           const struct bt_module *module, char *err, size_t errlen) {
  struct st_tensor *tensors = bt_xcalloc((size_t)s->n, sizeof *tensors);
  for (int i = 0; i < s->n; i++) {
    tensors[i] = *bt_match_find(m, s->tensors[i]);
    tensors[i].name = s->tensors[i]->name + strlen(m->instance) + 1;
  }
  const struct st_entry metadata[] = {
      {"format", "pt"}, // what transformers and others expect to see
      {"btc.instance", m->instance},
      {"btc.build", module->build ? module->build : ""}};
  bool ok = st_write(to, tensors, s->n, metadata, 3, err, errlen);
  free(tensors);
  return ok;
}

bool bt_instance_export(const char *from, const char *to, const struct bt_module *module,
                        const char *instance, char *note, size_t notelen, char *err,
                        size_t errlen) {
  char ignored[1000] = "";
  struct bt_match m;
  struct bt_selection s = {0};
  struct st_file *f = st_open(from, err, errlen);
  bool ok = f && match(f, from, module, instance, &m, &s, ignored, sizeof ignored, err, errlen) &&
            write_instance(&m, &s, to, module, err, errlen);
  bool normalised = false;
  for (int i = 0; i < s.n; i++) normalised |= strstr(s.tensors[i]->name, ".running_mean") != NULL;
  if (ok)
    bt_append(note, notelen, "%s: %d tensors to %s%s%s%s\n", instance, s.n, to,
        normalised ? " (without PyTorch's num_batches_tracked)" : "",
        *ignored ? "; left out: " : "", ignored);
  free(s.tensors);
  st_close(f);
  return ok;
}
