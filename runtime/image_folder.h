// image_folder.h: folders of image files, as torchvision's ImageFolder reads them:
//
//   DIR/<split>/<class>/…/<image>   splits: train, and for tests the first of test, val, valid,
//                                   validation that is there
//   DIR/<split>/<image>             images without labels
//   DIR/<class>/…/<image>           one split, for training; so DIR/<image>
//
// or any of them one level deeper, in the only folder of DIR, where that has a folder `train`.
// Classes are folders, numbered in the byte order of their names in the training split; images are
// in the byte order of their paths within a class. Images end in .jpg, .jpeg or .png, in any case;
// names that begin with a dot and other files are passed over. Symbolic links are followed.
#ifndef BT_IMAGE_FOLDER_H
#define BT_IMAGE_FOLDER_H

#include "btrt.h"

struct bt_image_list {
  char *folder;    // of the split; NULL: there is no such split
  char *text;      // paths within it, each with its end
  size_t *paths;   // n: where in text
  int32_t *labels; // n; NULL: there are no classes
  int64_t n;
};

struct bt_image_tree {
  struct bt_image_list train, test;
  char **classes; // names, ascending
  int n_classes;
};

// Has the folder a folder within, or an image? Then it may be meant.
bool bt_image_folder_likely(const char *folder);
// train_only: the test split is not looked at. False with err; then nothing is left allocated.
bool bt_image_folder_read(const char *folder, bool train_only, struct bt_image_tree *tree,
                          char *err, size_t errlen);
void bt_image_list_free(struct bt_image_list *list);
void bt_image_tree_free(struct bt_image_tree *tree);

#endif
