// folder.h: the folder of a program's run, <out>/<program>:
//   log.jsonl           progress.h; whoever writes to it has the lock of the folder
//   last.safetensors    the newest checkpoint
//   best.safetensors    the one with the best score
//   epoch-0010.…        with --keep-every: these epochs'
//   config.json         what was run
//   model.btg           the program's text
#ifndef BT_FOLDER_H
#define BT_FOLDER_H

#include "checkpoint.h"
#include "session.h"

#define BT_BEST_CHECKPOINT "best.safetensors"
#define BT_EPOCH_CHECKPOINT "epoch-%04" PRId64 ".safetensors"

// Makes the folder if need be; a file can be created in it.
bool bt_folder_make(const struct bt_session *s, char *err, size_t errlen);

// Removes temporary files that killed writers left. The caller has the lock.
void bt_folder_clean(const struct bt_session *s);
// Removes what the run before kept beside its last checkpoint.
void bt_folder_forget(const struct bt_session *s);

// Paths, to be freed; NULL: there is none. Any checkpoint, the last if it is there; of those that the program can go
// on from, not the last, that of the most steps (the store is overwritten).
char *bt_folder_checkpoint(const struct bt_session *s);
char *bt_folder_good_checkpoint(const struct bt_session *s, struct bt_progress_point *point);

// Writes config.json and model.btg. n: examples that are trained on. first: the step from which this process goes on.
bool bt_folder_describe(const struct bt_session *s, const struct bt_step_point *point, int64_t n, char *err, size_t errlen);

#endif
