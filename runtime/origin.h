// origin.h: what a trainer was made of, as a checkpoint remembers it.
#ifndef BT_ORIGIN_H
#define BT_ORIGIN_H

#include "safetensors.h"

// The entries of a checkpoint's metadata: files with their checksums, options, compiler and flags.
enum { BT_ORIGIN_ENTRIES = 3 };
struct bt_origin {
  struct st_entry entries[BT_ORIGIN_ENTRIES];
};
struct bt_origin bt_origin_of(const struct bt_module *module); // values: free with bt_origin_free
void bt_origin_free(struct bt_origin *origin);

// Writes to `changes` how the module differs from the trainer that wrote the file, as in "layers.btg has changed; it
// was compiled without -D batch=8"; an empty text: it does not.
void bt_origin_compare(const struct st_file *file, const struct bt_module *module, char *changes, size_t room);

#endif
