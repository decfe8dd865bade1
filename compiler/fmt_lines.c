// fmt_lines.c: lines to text. Two things stand in columns, in lines that follow one another:
//
//   - the `=` of constants, and of instances, each statement being on one line;
//   - comments behind code, COMMENT_GAP columns behind the longest line.
//
// A column that would push a line past FMT_WIDTH is given up; then each line stands for itself.
#include <string.h>

#include "fmt_internal.h"

enum { COMMENT_GAP = 4 };

// ---- the column of `=` ---------------------------------------------------------------------------
static bool in_assign_column(const fmt_line_list *lines, int i, const struct fmt_line *first) {
  const struct fmt_line *l = &lines->data[i];
  if (l->column == FMT_NO_COLUMN || l->continues) return false;
  if (i + 1 < lines->len && l[1].continues) return false;
  return l->column == first->column && l->indent == first->indent;
}

static void align_assigns(struct arena *a, struct fmt_line *lines, int n) {
  int column = 0;
  for (int i = 0; i < n; i++)
    if (lines[i].assign > column) column = lines[i].assign;
  for (int i = 0; i < n; i++)
    if (lines[i].width + column - lines[i].assign > FMT_WIDTH) return;
  for (int i = 0; i < n; i++) {
    struct fmt_line *l = &lines[i];
    l->text = str_printf(a, "%.*s%*s%s", l->assign, l->text, column - l->assign, "", l->text + l->assign);
    l->width += column - l->assign;
  }
}

// ---- the column of comments ----------------------------------------------------------------------
static int comment_column(const struct fmt_line *lines, int n) {
  int column = 0;
  for (int i = 0; i < n; i++)
    if (lines[i].width > column) column = lines[i].width;
  for (int i = 0; i < n; i++)
    if (column + COMMENT_GAP + fmt_text_width(lines[i].comment) > FMT_WIDTH) return -1;
  return column + COMMENT_GAP;
}

static void align_comments(struct arena *a, struct fmt_line *lines, int n) {
  int common = comment_column(lines, n), column = common;
  for (int i = 0; i < n; i++) {
    struct fmt_line *l = &lines[i];
    if (common < 0 && *l->text) column = l->width + COMMENT_GAP; // one without text goes on the comment above
    l->text = str_printf(a, "%s%*s%s", l->text, column - l->width, "", l->comment);
  }
}

// ---- all of it -----------------------------------------------------------------------------------
const char *fmt_join_lines(struct arena *a, fmt_line_list *lines) {
  struct fmt_line *l = lines->data;
  for (int i = 0, end; i < lines->len; i = end) {
    for (end = i; end < lines->len && in_assign_column(lines, end, &l[i]); end++) continue;
    if (end > i) align_assigns(a, l + i, end - i);
    else end++;
  }
  for (int i = 0, end; i < lines->len; i = end) {
    for (end = i; end < lines->len && l[end].comment; end++) continue;
    if (end > i) align_comments(a, l + i, end - i);
    else end++;
  }
  size_t length = 0;
  for (int i = 0; i < lines->len; i++) length += (size_t)l[i].indent + strlen(l[i].text) + 1;
  char *text = NEW_ARRAY(a, char, length + 1), *to = text;
  for (int i = 0; i < lines->len; i++)
    to += sprintf(to, "%*s%s\n", l[i].indent, "", l[i].text);
  return text;
}
