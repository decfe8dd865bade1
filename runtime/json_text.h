// json_text.h: texts of users in JSON, which knows only UTF-8: paths need not be.
#ifndef BT_JSON_TEXT_H
#define BT_JSON_TEXT_H

#include <jansson.h>

void bt_mask_text(char *text);           // where it is not UTF-8, its bytes from 128 on become '?'
json_t *bt_json_text(const char *text);  // of a copy that is masked; null of NULL

#endif
