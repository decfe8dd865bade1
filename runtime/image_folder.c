// image_folder.c: see image_folder.h.
#define _GNU_SOURCE
#include "image_folder.h"
#include "btrt_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMATS ".jpg, .jpeg, .png"
#define PATH 4096

struct complaint { // where what is wrong is told
  char *err;
  size_t errlen;
};
#define FAIL(p, ...) bt_fail((p)->err, (p)->errlen, __VA_ARGS__)

// ---- one folder -------------------------------------------------------------------------------

enum entry_kind { OTHER, IMAGE, FOLDER };

static bool ends_as_image(const char *name) {
  static const char *const endings[] = {".jpg", ".jpeg", ".png"};
  const char *dot = strrchr(name, '.');
  for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
    if (strcasecmp(dot, endings[i]) == 0) return true;
  return false;
}

// Links are followed; one that leads nowhere is what its name says, and will be found unreadable.
static enum entry_kind kind_of(int folder, const struct dirent *entry) {
  unsigned char type = entry->d_type;
  struct stat st;
  if ((type == DT_LNK || type == DT_UNKNOWN) && fstatat(folder, entry->d_name, &st, 0) == 0)
    type = S_ISDIR(st.st_mode) ? DT_DIR : S_ISREG(st.st_mode) ? DT_REG : DT_FIFO;
  if (type == DT_DIR) return FOLDER;
  return (type == DT_REG || type == DT_LNK) && ends_as_image(entry->d_name) ? IMAGE : OTHER;
}

// The next visible entry; NULL at the end, with errno where it could not be read.
static struct dirent *next_entry(DIR *dir) {
  struct dirent *entry;
  do errno = 0, entry = readdir(dir);
  while (entry && entry->d_name[0] == '.');
  return entry;
}

static DIR *open_folder(int parent, const char *path) {
  int fd = openat(parent, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  if (!dir && fd >= 0) close(fd);
  return dir;
}

static int compare_names(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

// What is directly in a folder: the names of folders, ascending, and how many images.
struct listing {
  char **folders;
  int n_folders, room;
  int64_t images;
  char image[256]; // the name of one
};

static void listing_free(struct listing *l) {
  for (int i = 0; i < l->n_folders; i++) free(l->folders[i]);
  free(l->folders);
  *l = (struct listing){0};
}

static void list_folder(struct listing *l, const char *name) {
  if (l->n_folders == l->room) {
    l->room = l->room ? 2 * l->room : 16;
    l->folders = realloc(l->folders, sizeof *l->folders * (size_t)l->room);
    if (!l->folders) bt_die("out of memory: %d folders", l->room);
  }
  l->folders[l->n_folders++] = strdup(name);
}

static bool list_entries(const struct complaint *p, const char *path, struct listing *l) {
  *l = (struct listing){0};
  DIR *dir = open_folder(AT_FDCWD, path);
  if (!dir) return FAIL(p, "%s: cannot read the folder: %s", path, strerror(errno));
  for (struct dirent *entry; (entry = next_entry(dir));) {
    enum entry_kind kind = kind_of(dirfd(dir), entry);
    if (kind == FOLDER) list_folder(l, entry->d_name);
    if (kind == IMAGE && !l->images++) snprintf(l->image, sizeof l->image, "%s", entry->d_name);
  }
  int error = errno;
  closedir(dir);
  if (l->folders) qsort(l->folders, (size_t)l->n_folders, sizeof *l->folders, compare_names);
  if (!error) return true;
  listing_free(l);
  return FAIL(p, "%s: cannot read the folder: %s", path, strerror(error));
}

bool bt_image_folder_likely(const char *folder) {
  struct listing l;
  if (!list_entries(&(struct complaint){0}, folder, &l)) return false;
  bool likely = l.n_folders > 0 || l.images > 0;
  listing_free(&l);
  return likely;
}

// ---- the images below a folder ----------------------------------------------------------------

struct collection {
  const struct complaint *complaint;
  struct bt_image_list *list;
  size_t text, text_room, room;
  int64_t others; // files passed over
};

static void *grow(void *old, size_t *room, size_t need, size_t size) {
  if (need <= *room) return old;
  while (*room < need) *room = *room ? 2 * *room : 1024;
  void *p = realloc(old, *room * size);
  if (!p) bt_die("out of memory: %zu × %zu bytes", *room, size);
  return p;
}

static void add_image(struct collection *c, const char *path) {
  struct bt_image_list *l = c->list;
  size_t n = strlen(path) + 1;
  l->text = grow(l->text, &c->text_room, c->text + n, 1);
  l->paths = grow(l->paths, &c->room, (size_t)l->n + 1, sizeof *l->paths);
  memcpy(l->text + c->text, path, n);
  l->paths[l->n++] = c->text;
  c->text += n;
}

// The folders above, so that links in a circle end.
struct above {
  const struct above *next;
  dev_t device;
  ino_t number;
};

static bool is_above(const struct above *a, const struct above *folder) {
  for (; a; a = a->next)
    if (a->device == folder->device && a->number == folder->number) return true;
  return false;
}

static bool collect(struct collection *c, int parent, const char *name, char *path, size_t length,
                    const struct above *above);

// path[0 … length-1] is the folder within the split, ending in '/' unless it is the split itself.
static bool collect_entry(struct collection *c, int folder, const struct dirent *entry, char *path,
                          size_t length, const struct above *above) {
  size_t n = strlen(entry->d_name);
  if (length + n + 2 > PATH)
    return FAIL(c->complaint, "%s/%s: the path is too long", c->list->folder, path);
  memcpy(path + length, entry->d_name, n + 1);
  switch (kind_of(folder, entry)) {
  case IMAGE: add_image(c, path); return true;
  case OTHER: c->others++; return true;
  case FOLDER: break;
  }
  memcpy(path + length + n, "/", 2);
  return collect(c, folder, entry->d_name, path, length + n + 1, above);
}

static bool collect(struct collection *c, int parent, const char *name, char *path, size_t length,
                    const struct above *above) {
  struct stat st;
  DIR *dir = open_folder(parent, name);
  if (!dir || fstat(dirfd(dir), &st) != 0) {
    if (dir) closedir(dir);
    return FAIL(c->complaint, "%s/%s: cannot read the folder: %s", c->list->folder, path,
                strerror(errno));
  }
  struct above this = {above, st.st_dev, st.st_ino};
  bool ok = true;
  if (!is_above(above, &this)) {
    struct dirent *entry;
    while (ok && (entry = next_entry(dir)))
      ok = collect_entry(c, dirfd(dir), entry, path, length, &this);
    path[length] = 0;
    if (ok && errno)
      ok = FAIL(c->complaint, "%s/%s: cannot read the folder: %s", c->list->folder, path,
                strerror(errno));
  }
  closedir(dir);
  return ok;
}

static int compare_paths(const void *a, const void *b, void *text) {
  return strcmp((char *)text + *(const size_t *)a, (char *)text + *(const size_t *)b);
}

// The images below folder `name` of the split ("." itself) follow those that there are.
static bool collect_sorted(struct collection *c, const char *name) {
  struct bt_image_list *l = c->list;
  char path[PATH] = "";
  int64_t from = l->n;
  bool root = strcmp(name, ".") == 0;
  size_t length = root ? 0 : (size_t)snprintf(path, sizeof path, "%s/", name);
  int fd = open(l->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0) {
    if (fd >= 0) close(fd);
    return FAIL(c->complaint, "%s: cannot read the folder: %s", l->folder, strerror(errno));
  }
  const struct above split = {NULL, st.st_dev, st.st_ino};
  bool ok = collect(c, fd, name, path, length, root ? NULL : &split);
  close(fd);
  if (ok && l->n > UINT32_MAX)
    ok = FAIL(c->complaint, "%s has more images than can be counted", l->folder);
  if (ok && l->n > from)
    qsort_r(l->paths + from, (size_t)(l->n - from), sizeof *l->paths, compare_paths, l->text);
  return ok;
}

// ---- a split ----------------------------------------------------------------------------------

static int class_named(const struct bt_image_tree *t, const char *name) {
  char **found =
      bsearch(&name, t->classes, (size_t)t->n_classes, sizeof *t->classes, compare_names);
  return found ? (int)(found - t->classes) : -1;
}

static bool add_class(struct collection *c, const struct bt_image_tree *t, const char *name) {
  struct bt_image_list *l = c->list;
  int label = class_named(t, name);
  int64_t from = l->n, others = c->others;
  if (label < 0)
    return FAIL(c->complaint,
                "%s has the class '%s', which %s has not: the training split must have every class",
                l->folder, name, t->train.folder);
  if (!collect_sorted(c, name)) return false;
  if (l->n == from)
    return FAIL(c->complaint,
                "%s/%s: the class has no images (%" PRId64 " other files; images end in " FORMATS
                "): fill the folder, or remove it",
                l->folder, name, c->others - others);
  int32_t *labels = realloc(l->labels, sizeof *labels * (size_t)l->n);
  if (!labels) bt_die("out of memory: %" PRId64 " labels", l->n);
  l->labels = labels;
  for (int64_t i = from; i < l->n; i++) labels[i] = label;
  return true;
}

// The training split's folders are the classes.
static bool read_classes(struct collection *c, struct bt_image_tree *t, struct listing *l) {
  bool ok = true;
  if (c->list == &t->train) {
    t->classes = l->folders, t->n_classes = l->n_folders;
    l->folders = NULL, l->n_folders = 0;
    for (int i = 0; ok && i < t->n_classes; i++) ok = add_class(c, t, t->classes[i]);
  } else if (t->n_classes) {
    for (int i = 0; ok && i < l->n_folders; i++) ok = add_class(c, t, l->folders[i]);
  } else {
    ok = collect_sorted(c, "."); // what its folders are called means nothing
  }
  return ok;
}

static bool read_split(const struct complaint *p, struct bt_image_tree *t,
                       struct bt_image_list *list) {
  struct collection c = {.complaint = p, .list = list};
  struct listing l;
  if (!list_entries(p, list->folder, &l)) return false;
  bool ok = true;
  if (l.n_folders && l.images)
    ok = FAIL(
        p,
        "%s has images of its own (%s) beside class folders: move them into a class folder, or "
        "remove them",
        list->folder, l.image);
  else
    ok = l.n_folders ? read_classes(&c, t, &l) : collect_sorted(&c, ".");
  if (ok && list->n == 0)
    ok = FAIL(p, "%s has no images (%" PRId64 " other files; images end in " FORMATS ")",
              list->folder, c.others);
  listing_free(&l);
  return ok;
}

// ---- the layout -------------------------------------------------------------------------------

static const char *const test_names[] = {"test", "val", "valid", "validation"};

static char *join(const char *folder, const char *name) {
  char *path;
  if (asprintf(&path, "%s/%s", folder, name) < 0) bt_die("out of memory");
  return path;
}

// folder/name where that is a folder, to be freed; else NULL.
static char *folder_within(const char *folder, const char *name) {
  char *path = join(folder, name);
  struct stat st;
  if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return path;
  free(path);
  return NULL;
}

// The folder that has the splits: DIR, or the only folder in it.
static char *find_root(const struct complaint *p, const char *dir) {
  struct listing l;
  char *train = folder_within(dir, "train"), *root = NULL;
  bool only = !train && list_entries(p, dir, &l);
  if (only && l.n_folders == 1) {
    root = join(dir, l.folders[0]);
    train = folder_within(root, "train");
    if (!train) free(root), root = NULL;
  }
  if (only) listing_free(&l);
  free(train);
  return root ? root : strdup(dir);
}

static bool find_splits(const struct complaint *p, const char *dir, struct bt_image_tree *t) {
  char *root = find_root(p, dir);
  t->train.folder = folder_within(root, "train");
  for (size_t i = 0; !t->test.folder && i < sizeof test_names / sizeof *test_names; i++)
    t->test.folder = folder_within(root, test_names[i]);
  bool ok = t->train.folder || !t->test.folder ||
            FAIL(p, "%s has a folder %s but no folder train, whose images are trained on", root,
                 strrchr(t->test.folder, '/') + 1);
  if (!t->train.folder) t->train.folder = strdup(root);
  free(root);
  return ok;
}

bool bt_image_folder_read(const char *folder, bool train_only, struct bt_image_tree *tree,
                          char *err, size_t errlen) {
  const struct complaint p = {err, errlen};
  *tree = (struct bt_image_tree){0};
  bool ok = find_splits(&p, folder, tree) && read_split(&p, tree, &tree->train) &&
            (train_only || !tree->test.folder || read_split(&p, tree, &tree->test));
  if (!ok) bt_image_tree_free(tree);
  return ok;
}

void bt_image_list_free(struct bt_image_list *list) {
  free(list->folder), free(list->text), free(list->paths), free(list->labels);
  *list = (struct bt_image_list){0};
}

void bt_image_tree_free(struct bt_image_tree *tree) {
  bt_image_list_free(&tree->train), bt_image_list_free(&tree->test);
  for (int i = 0; i < tree->n_classes; i++) free(tree->classes[i]);
  free(tree->classes);
  *tree = (struct bt_image_tree){0};
}
