// driver.c: btc's own files, models, results. See driver.h.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ast.h"
#include "driver.h"
#include "process.h"

static const struct loc nowhere;

// ---- btc's own files --------------------------------------------------------------------------

static bool exists(struct btc *b, const char *folder, const char *name) {
  return access(str_printf(b->arena, "%s/%s", folder, name), R_OK) == 0;
}

static char *parent(struct btc *b, const char *path) {
  const char *slash = strrchr(path, '/');
  if (!slash) return str_printf(b->arena, ".");
  return str_ndup(b->arena, path, slash == path ? 1 : (size_t)(slash - path));
}

static const char *own_folder(struct btc *b) {
  char path[4096];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
  if (n <= 0) return NULL;
  path[n] = 0;
  return parent(b, path);
}

static bool is_home(struct btc *b, const char *folder) {
  return exists(b, folder, "runtime/btrt.h") && exists(b, folder, "stdlib");
}

// The source tree is some folders above build/btc (or build/sanitize/btc, build/tests/test_x).
static const char *find_home(struct btc *b) {
  const char *folder = own_folder(b);
  if (!folder) return NULL;
  const char *installed = str_printf(b->arena, "%s/share/btc", parent(b, folder));
  if (is_home(b, installed)) return installed;
  for (int up = 0; up < 4; up++, folder = parent(b, folder))
    if (is_home(b, folder)) return folder;
  return NULL;
}

bool driver_home(struct btc *b) {
  if (b->opt.home) return true;
  const char *given = getenv("BTC_HOME");
  if (given && *given) {
    if (is_home(b, given)) return b->opt.home = given, true;
    diag_error(b, nowhere, "$BTC_HOME is '%s', where there is no stdlib/ with runtime/btrt.h beside it", given);
    return false;
  }
  b->opt.home = find_home(b);
  if (!b->opt.home) diag_error(b, nowhere, "the standard library is missing: reinstall btc, or set $BTC_HOME to the folder that has stdlib/ and runtime/");
  return b->opt.home != NULL;
}

const char *driver_runtime_library(struct btc *b) {
  if (!driver_home(b)) return NULL;
  if (exists(b, b->opt.home, "lib/libbtrt.a")) return str_printf(b->arena, "%s/lib/libbtrt.a", b->opt.home);
  const char *folder = own_folder(b);
  for (int up = 0; folder && up < 2; up++, folder = parent(b, folder))
    if (exists(b, folder, "libbtrt.a")) return str_printf(b->arena, "%s/libbtrt.a", folder);
  if (exists(b, b->opt.home, "build/libbtrt.a")) return str_printf(b->arena, "%s/build/libbtrt.a", b->opt.home);
  diag_error(b, nowhere, "the runtime library libbtrt.a is neither in %s/lib nor beside btc: reinstall btc", b->opt.home);
  return NULL;
}

// ---- reading ----------------------------------------------------------------------------------

struct file *driver_parse(struct btc *b, const char *path) {
  int source = source_open(b, path, nowhere);
  if (source < 0) return NULL;
  struct file *f = parse_file(b, source);
  return b->n_errors ? NULL : f;
}

struct model *driver_elaborate(struct btc *b, const struct file *f) {
  if (!driver_home(b)) return NULL;
  struct model *m = model_elaborate(b, f);
  return b->n_errors ? NULL : m;
}

struct model *driver_model(struct btc *b, const char *path) {
  struct file *f = driver_parse(b, path);
  return f ? driver_elaborate(b, f) : NULL;
}

void driver_keep(struct model *m, struct program *p) {
  m->programs.data = p;
  m->programs.len = m->programs.cap = 1;
  m->partial = true;
}

struct program *driver_program(struct model *m, const char *name) {
  struct btc *b = m->b;
  if (m->programs.len == 0) return diag_error(b, nowhere, "the file has no program"), NULL;
  if (!name) return &m->programs.data[0];
  const char **names = NEW_ARRAY(b->arena, const char *, m->programs.len);
  const char *list = "";
  for (int i = 0; i < m->programs.len; i++) {
    names[i] = m->programs.data[i].name;
    if (str_eq(names[i], name)) return &m->programs.data[i];
    list = str_printf(b->arena, "%s%s%s", list, i ? ", " : "", names[i]);
  }
  const char *near = str_nearest(name, names, m->programs.len);
  if (near) diag_error(b, nowhere, "there is no program '%s'; did you mean '%s'?", name, near);
  else diag_error(b, nowhere, "there is no program '%s'; the file has %s", name, list);
  return NULL;
}

// ---- writing ----------------------------------------------------------------------------------

bool output_begin(struct btc *b, struct output *o, const char *path) {
  struct stat status;
  *o = (struct output){path, NULL};
  if (stat(path, &status) == 0 && !S_ISREG(status.st_mode)) {
    if (!S_ISDIR(status.st_mode) && access(path, W_OK) == 0) return process_hold_signals(), o->temporary = path, true;
    diag_error(b, nowhere, "cannot write %s: %s", path, S_ISDIR(status.st_mode) ? "it is a folder" : strerror(errno));
    return false;
  }
  char *temporary = str_printf(b->arena, "%s.XXXXXX", path);
  process_hold_signals();
  int fd = mkstemp(temporary);
  if (fd < 0) {
    diag_error(b, nowhere, "cannot write %s: %s", path, strerror(errno));
    process_release_signals();
    return false;
  }
  mode_t mask = umask(0);
  umask(mask);
  fchmod(fd, 0666 & ~mask);
  close(fd);
  o->temporary = temporary;
  return true;
}

bool output_spares(struct btc *b, const char *path, const char *input) {
  struct stat out, in;
  if (stat(path, &out) || stat(input, &in) || !S_ISREG(out.st_mode)) return true;
  if (out.st_dev != in.st_dev || out.st_ino != in.st_ino) return true;
  diag_error(b, nowhere, "cannot write %s: it is the input itself; give another name", path);
  return false;
}

bool output_commit(struct btc *b, struct output *o) {
  bool good = o->temporary == o->path || rename(o->temporary, o->path) == 0;
  if (!good) diag_error(b, nowhere, "cannot write %s: %s", o->path, strerror(errno));
  if (good) o->temporary = NULL;
  output_abandon(o);
  return good;
}

void output_abandon(struct output *o) {
  if (o->temporary && o->temporary != o->path) unlink(o->temporary);
  o->temporary = NULL;
  process_release_signals();
}

const char *temporary_folder(struct btc *b) {
  const char *base = getenv("TMPDIR");
  char *folder = str_printf(b->arena, "%s/btc.XXXXXX", base && *base ? base : "/tmp");
  process_hold_signals();
  if (mkdtemp(folder)) return folder;
  diag_error(b, nowhere, "cannot make a temporary folder %s: %s", folder, strerror(errno));
  process_release_signals();
  return NULL;
}

static void remove_folder(const char *folder) {
  DIR *dir = opendir(folder);
  if (!dir) return;
  for (struct dirent *entry; (entry = readdir(dir));) unlinkat(dirfd(dir), entry->d_name, 0);
  closedir(dir);
  rmdir(folder);
}

void temporary_folder_end(const char *folder, const char *kept) {
  if (kept) fprintf(stderr, "btc: the generated C is %s\n", kept);
  else remove_folder(folder);
  process_release_signals();
}
