// replace.c: see replace.h.
//
// Bytes go to a temporary file in the same folder; it reaches the disk (fsync) before it takes the old file's name
// (rename), and the folder is flushed after. A crash or a full disk at any moment leaves either the old file or the
// new one. What a killed process leaves is a temporary file, whose name says so.
#define _GNU_SOURCE
#include "replace.h"
#include "btrt_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENDING ".tmp-"

size_t bt_temporary_of(const char *name) {
  size_t n = strlen(name), digits = 0, ending = sizeof ENDING - 1;
  while (digits < n && name[n - 1 - digits] >= '0' && name[n - 1 - digits] <= '9') digits++;
  bool temporary = digits && n > digits + ending && memcmp(name + n - digits - ending, ENDING, ending) == 0;
  return temporary ? n - digits - ending : 0;
}

bool bt_write_all(int fd, const void *data, size_t n) {
  const char *p = data;
  while (n > 0) {
    ssize_t put = write(fd, p, n);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return false;
    p += put, n -= (size_t)put;
  }
  return true;
}

// Some file systems cannot flush a folder; there the rename is as safe as they make it.
static bool flush_folder(const char *folder) {
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  bool ok = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP);
  int error = errno;
  if (fd >= 0) close(fd);
  errno = error;
  return ok;
}

// To fd and to the disk. Closes fd.
static bool write_temporary(int fd, bt_content *content, const void *user, bool flush) {
  bool ok = content(fd, user) && (!flush || fsync(fd) == 0);
  int error = errno;
  if (close(fd) != 0 && ok) return false;
  errno = error;
  return ok;
}

static bool write_beside(const char *path, const char *temporary, const char *folder, bt_content *content, const void *user) {
  unlink(temporary); // left by a dead process that had our number
  int fd = open(temporary, O_WRONLY | O_CLOEXEC | O_CREAT | O_EXCL, 0666);
  if (fd < 0) return false;
  bool ok = write_temporary(fd, content, user, true) && rename(temporary, path) == 0;
  int error = errno;
  if (!ok) unlink(temporary);
  errno = error;
  return ok && flush_folder(folder);
}

static bool write_directly(const char *path, bt_content *content, const void *user) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  return fd >= 0 && write_temporary(fd, content, user, false);
}

bool bt_replace_file(const char *path, bt_content *content, const void *user, char *err, size_t errlen) {
  struct stat st;
  bool exists = stat(path, &st) == 0;
  if (exists && S_ISDIR(st.st_mode)) return bt_fail(err, errlen, "%s is a folder", path);
  size_t room = strlen(path) + 32;
  char *temporary = bt_xcalloc(room, 1), *copy = bt_xstrdup(path);
  snprintf(temporary, room, "%s" ENDING "%ld", path, (long)getpid());
  bool ok = exists && !S_ISREG(st.st_mode) ? write_directly(path, content, user)
                                           : write_beside(path, temporary, dirname(copy), content, user);
  if (!ok) bt_fail(err, errlen, "cannot write %s: %s", path, strerror(errno));
  free(temporary), free(copy);
  return ok;
}
