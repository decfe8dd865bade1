// match.h: which tensors of a module a file should have, and whether it has them.
//
// A file has the names of the module (a checkpoint), or the names that follow `instance.`, as a
// model of torchvision's or timm's has them and as `export` writes them: then it is `bare`.
#ifndef BT_MATCH_H
#define BT_MATCH_H

#include "btrt_internal.h"
#include "safetensors.h"

struct bt_selection {
  const struct bt_tensor **tensors; // free() it
  int n;
};
// All that a program uses; what an instance (encoder, encoder.layer1, …) owns, optimisers' states
// aside.
struct bt_selection bt_select_program(const struct bt_module *module,
                                      const struct bt_program *program);
struct bt_selection bt_select_instance(const struct bt_module *module, const char *instance);

struct bt_match {
  const struct st_file *file;
  const char *path;
  const char *instance; // NULL: a whole program, whose file has nothing else
  bool bare;
};
// An open file and an instance; checkpoints of ours are never bare.
struct bt_match bt_match_instance(const struct st_file *file, const char *path,
                                  const char *instance);

// Has the file every selected tensor in its type, and, of what is the program's or the instance's,
// no other? A classifier (fc, head, heads) and PyTorch's num_batches_tracked may be there all the
// same: `ignored` says which, or is empty. On failure err names the first few that differ.
bool bt_match_compare(const struct bt_match *match, const struct bt_selection *selection,
                      char *ignored, size_t ignoredlen, char *err, size_t errlen);

// The file's tensor for one of the module's, or NULL.
const struct st_tensor *bt_match_find(const struct bt_match *match, const struct bt_tensor *tensor);
void bt_match_copy(const struct bt_match *match, const struct bt_selection *selection, char *store);

#endif
