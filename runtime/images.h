// images.h: the images of a split, of one size or of many, in memory or in files.
//
// Pixels are bytes in planes, channels × height × width, as views read them. Images in files (JPEG,
// PNG) are decoded when they are wanted, and stay in memory as far as a budget goes: which do
// changes nothing but the time.
#ifndef BT_IMAGES_H
#define BT_IMAGES_H

#include "btrt.h"

struct bt_raster {
  int channels, height, width;
  const uint8_t *pixels;
};

struct bt_image_files; // images.c

struct bt_images {
  int64_t n;
  int channels;      // of every image
  int height, width; // of every image; 0: they differ, or are not known before they are read
  uint8_t *pixels;   // all, one after the other; NULL: they are in files
  struct bt_image_files *files; // NULL: they are in `pixels`
};

// Room for one image that is read when it is wanted, and what reads it: a thread has its own, and
// it grows. Begins as {0}; bt_image_room_free gives back what it holds.
struct bt_image_room {
  uint8_t *pixels;
  size_t bytes;
  struct bt_decoder *decoder;
};
void bt_image_room_free(struct bt_image_room *room);

// Image i; its pixels lie in the set or in `room`, until the room's next use. Threads may call at
// once, each with its room. False with err where it cannot be read: the file is damaged or gone, or
// not of the set's one size. Such an image is counted, and never tried again.
bool bt_images_get(const struct bt_images *images, int64_t i, struct bt_image_room *room,
                   struct bt_raster *raster, char *err, size_t errlen);
// Image i or, where it cannot be read, the first one after it that can (after the last comes the
// first); *taken is its number, whose label belongs to it. So what takes a place depends on nothing
// but the files. False with err, which ends the run, where more than one image in a hundred (and
// more than one) cannot be read, or none can.
bool bt_images_take(const struct bt_images *images, int64_t i, struct bt_image_room *room,
                    struct bt_raster *raster, int64_t *taken, char *err, size_t errlen);

// How many images could not be read so far.
int64_t bt_images_unreadable(const struct bt_images *images);
// True once, when there is such an image: `text` is a sentence that names it and says why.
bool bt_images_warning(const struct bt_images *images, char *text, size_t room);

// ---- sets ---------------------------------------------------------------------------------------

// What decoded images may take in memory, all sets together; where it is used up, images are read
// each time.
struct bt_image_cache {
  size_t budget;
  _Atomic size_t used;
};

struct bt_image_list; // image_folder.h

// The images of a list of files with 1 or 3 channels; what the list says of the files is taken out
// of it. cache must live as long as the images.
struct bt_images *bt_images_of_files(struct bt_image_list *list, int channels,
                                     struct bt_image_cache *cache);
// What all would take when decoded, judged by a sample of them.
size_t bt_images_decoded_bytes(const struct bt_images *images);
// Decodes images of files by all threads until all are in memory or the cache is full. False with
// err where too many cannot be read. progress: what they are called on standard error, where it
// takes long; NULL: nothing is said.
bool bt_images_load(const struct bt_images *images, const char *progress, char *err, size_t errlen);
// Reads the sizes of all images of files. If they are one, height and width are set to it;
// otherwise *other is the first image whose size differs from those before it, and its size is
// given.
bool bt_images_measure(struct bt_images *images, int64_t *other, int *height, int *width);
// Are all images of files in memory, or found unreadable? Then measuring costs nothing.
bool bt_images_loaded(const struct bt_images *images);
// Of the pixels; of images in files, whose pixels are not at hand, of their paths.
uint32_t bt_images_checksum(const struct bt_images *images);
// The path of an image of files, within bt_images_folder.
const char *bt_images_path(const struct bt_images *images, int64_t i);
const char *bt_images_folder(const struct bt_images *images);
// The pixels, or what belongs to the files, without what is decoded.
size_t bt_images_bytes(const struct bt_images *images);
void bt_images_free(struct bt_images *images);

#endif
