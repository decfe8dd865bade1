// interchange.h: instances' tensors from and to safetensors files, checkpoints or another
// library's.
#ifndef BT_INTERCHANGE_H
#define BT_INTERCHANGE_H

#include "btrt.h"

// Reads the parameters and layers' state of `instance` (encoder, encoder.layer1, …) from a file
// with the module's names or with those that follow `instance.`. `given` (NULL, or one per tensor
// of the module) marks what was read. `note` says, a line an instance, what was read of a file that
// is no checkpoint of ours, and what was ignored. On failure the store is untouched.
bool bt_instance_load(const char *path, const struct bt_module *module, const char *instance,
                      char *store, bool *given, char *note, size_t notelen, char *err,
                      size_t errlen);

// --init [INSTANCE=]FILE: reads INSTANCE; else every instance of the program that the file has by
// its name; else the one whose tensors the file has. On failure the store may be filled in part.
bool bt_instances_init(const char *argument, const struct bt_module *module,
                       const struct bt_program *program, char *store, bool *given, char *note,
                       size_t notelen, char *err, size_t errlen);

// Writes the instance's parameters and layers' state from file `from` to `to`, with the names that
// follow `instance.`. `note` as above.
bool bt_instance_export(const char *from, const char *to, const struct bt_module *module,
                        const char *instance, char *note, size_t notelen, char *err, size_t errlen);

#endif
