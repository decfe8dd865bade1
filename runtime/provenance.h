// provenance.h: what a trainer was made of, as a checkpoint remembers it.
#ifndef BT_PROVENANCE_H
#define BT_PROVENANCE_H

#include "safetensors.h"

// The entries of a checkpoint's metadata: files with their checksums, options, compiler and flags.
enum { BT_PROVENANCE_ENTRIES = 3 };
struct bt_provenance {
  struct st_entry entries[BT_PROVENANCE_ENTRIES];
};
struct bt_provenance bt_provenance_of(const struct bt_module *module); // values: free with bt_provenance_free
void bt_provenance_free(struct bt_provenance *origin);

// Writes to `changes` how the module differs from the trainer that wrote the file, as in "layers.btg has changed; it
// was compiled without -D batch=8"; an empty text: it does not.
void bt_provenance_compare(const struct st_file *file, const struct bt_module *module, char *changes, size_t room);

#endif
