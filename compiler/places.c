// places.c: see places.h.
#include "places.h"

#include <string.h>

const char *place_name(const struct btc *b, struct loc at) {
  if (at.line == 0 || at.file < 0 || at.file >= b->files.len) return NULL;
  const char *path = b->files.data[at.file].path, *slash = strrchr(path, '/');
  return str_printf(b->arena, "%s:%d", slash ? slash + 1 : path, at.line);
}

void places_add(struct btc *b, place_list *list, struct loc at) {
  const char *name = place_name(b, at), *line;
  size_t length;
  if (!name || !source_line(&b->files.data[at.file], at.line, &line, &length)) return;
  for (int i = 0; i < list->len; i++)
    if (list->data[i].file == at.file && list->data[i].line == at.line) return;
  for (; length && (*line == ' ' || *line == '\t'); length--) line++;
  const char *text = str_ndup(b->arena, line, length);
  vec_push(b->arena, list, ((struct place){at.file, at.line, name, text}));
}
