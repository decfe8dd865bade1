// picture.c: see picture.h.
#include "picture.h"
#include "btrt_internal.h"

#include <errno.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool write_file(FILE *f, const struct bt_picture *p, char *err, size_t errlen) {
  png_image image = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)p->width,
                     .height = (png_uint_32)p->height,
                     .format = p->channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY};
  if (!png_image_write_to_stdio(&image, f, 0, p->pixels, 0, NULL))
    return bt_fail(err, errlen, "%s", image.message);
  if (fflush(f) != 0 || fsync(fileno(f)) != 0) return bt_fail(err, errlen, "%s", strerror(errno));
  return true;
}

bool bt_png_write(const char *path, const struct bt_picture *picture, char *err, size_t errlen) {
  char why[200] = "";
  size_t room = strlen(path) + 32;
  char *temporary = bt_xcalloc(room, 1);
  snprintf(temporary, room, "%s.tmp-%ld", path, (long)getpid());
  FILE *f = fopen(temporary, "wb");
  bool ok =
      f ? write_file(f, picture, why, sizeof why) : bt_fail(why, sizeof why, "%s", strerror(errno));
  if (f && fclose(f) != 0 && ok) ok = bt_fail(why, sizeof why, "%s", strerror(errno));
  if (ok && rename(temporary, path) != 0) ok = bt_fail(why, sizeof why, "%s", strerror(errno));
  if (!ok && f) unlink(temporary);
  if (!ok) bt_fail(err, errlen, "cannot write %s: %s", path, why);
  free(temporary);
  return ok;
}
