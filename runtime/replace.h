// replace.h: files that appear whole or not at all.
#ifndef BT_REPLACE_H
#define BT_REPLACE_H

#include <stdbool.h>
#include <stddef.h>

// Writes a file's bytes to fd; false with errno set on failure.
typedef bool bt_content(int fd, const void *user);

// `content` writes to a temporary file beside `path`, which reaches the disk before it takes the name. On
// failure, with one sentence in err, `path` is as it was. A `path` that is not a regular file (a pipe, /dev/stdout) is
// written directly.
bool bt_replace_file(const char *path, bt_content *content, const void *user, char *err, size_t errlen);

bool bt_write_all(int fd, const void *data, size_t n); // false with errno set

// The length of `name` without the ending of a temporary file of bt_replace_file; 0: it is none.
size_t bt_temporary_of(const char *name);

#endif
