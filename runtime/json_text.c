// json_text.c: see json_text.h.
#include "json_text.h"
#include "btrt_internal.h"

#include <stdlib.h>

void bt_mask_text(char *text) {
  json_t *whole = json_string(text);
  for (; !whole && *text; text++)
    if ((unsigned char)*text >= 128) *text = '?';
  json_decref(whole);
}

json_t *bt_json_text(const char *text) {
  if (!text) return json_null();
  char *copy = bt_xstrdup(text);
  bt_mask_text(copy);
  json_t *value = json_string(copy);
  free(copy);
  return value;
}
