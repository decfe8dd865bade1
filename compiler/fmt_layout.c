// fmt_layout.c: groups of tokens to lines.
//
// A group goes on one line if it fits, with what must follow it there up to the next place where a line may
// break. Otherwise it is broken, at all of its breaks or, filling lines, where the next segment would not
// fit; its children are then laid out the same way, each for itself. Items of a bracket stand behind it; if
// that leaves too little room for the widest of them, they hang, each line indented from the start of the line
// that has the bracket. A comment ends its line wherever it stands.
#include <string.h>

#include "fmt_internal.h"

enum { HANGING_INDENT = 4, LEAST_ROOM = 40 };

struct layout {
  struct arena *arena;
  const fmt_token_list *tokens;
  int *position;     // width of the tokens before each, with their spaces
  int *comments;     // number of comments before each and those before it
  int *next_break;   // the next token, itself included, before which the line may end
  int *column;       // where each token came to stand
  int prepared, put; // tokens whose comments, which themselves are written
  struct fmt_line line;
  bool in_line;      // `line` is begun
  bool opens;        // the last that was written is the brace that opens a block
  fmt_line_list lines;
};

int fmt_text_width(const char *text) {
  int width = 0;
  for (; *text; text++) width += ((unsigned char)*text & 0xC0) != 0x80;
  return width;
}

// ---- measuring -----------------------------------------------------------------------------------
static void mark_breaks(const struct fmt_group *g, bool *breaks) {
  for (int i = 0; i < g->breaks.len; i++) breaks[g->breaks.data[i].token] = true;
  for (int i = 0; i < g->children.len; i++) mark_breaks(g->children.data[i], breaks);
}

static void measure(struct layout *p, const struct fmt_group *file) {
  int n = p->tokens->len;
  bool *breaks = NEW_ARRAY(p->arena, bool, n);
  mark_breaks(file, breaks);
  p->position = NEW_ARRAY(p->arena, int, n + 1);
  p->comments = NEW_ARRAY(p->arena, int, n + 1);
  p->next_break = NEW_ARRAY(p->arena, int, n + 1);
  p->column = NEW_ARRAY(p->arena, int, n);
  for (int i = 0; i < n; i++) {
    const struct fmt_token *t = &p->tokens->data[i];
    p->position[i + 1] = p->position[i] + t->space + t->width;
    p->comments[i + 1] = p->comments[i] + t->comments.len;
  }
  p->next_break[n] = n;
  for (int i = n - 1; i >= 0; i--) p->next_break[i] = breaks[i] || p->tokens->data[i].comments.len ? i : p->next_break[i + 1];
}

static bool has_comments(const struct layout *p, int first, int end) {
  return first + 1 < end && p->comments[end] > p->comments[first + 1];
}

// Of the tokens [first, end) on one line, with the space before the first.
static int flat_width(const struct layout *p, int first, int end) { return p->position[end] - p->position[first]; }

static int tail_width(const struct layout *p, int at) { return flat_width(p, at, p->next_break[at]); }

// ---- writing -------------------------------------------------------------------------------------
static void end_line(struct layout *p) {
  if (p->in_line) vec_push(p->arena, &p->lines, p->line);
  p->in_line = false;
}

static void begin_line(struct layout *p, int indent, bool continues) {
  p->line = (struct fmt_line){.indent = indent, .width = indent, .text = "", .continues = continues};
  p->in_line = true;
}

static void add_text(struct layout *p, const char *text, int width) {
  p->line.text = str_printf(p->arena, "%s%s", p->line.text, text);
  p->line.width += width;
}

// One at most, and none at the beginning of a file or block.
static void blank_line(struct layout *p) {
  if (p->lines.len == 0 || p->opens) return;
  const struct fmt_line *last = &p->lines.data[p->lines.len - 1];
  if (*last->text || last->comment) vec_push(p->arena, &p->lines, ((struct fmt_line){.text = ""}));
}

static int group_column(const struct layout *p, const struct fmt_group *g, int offset) {
  if (g->hanging >= 0) return g->hanging + offset;
  if (g->anchor < 0) return offset;
  return g->anchor < p->put ? p->column[g->anchor] + offset : group_column(p, g->parent, g->parent->offset);
}

// The comments [from, end) before t, which have lines to themselves.
static void put_comments(struct layout *p, const struct fmt_token *t, int from, int end, int column, bool keeps_blanks) {
  for (int i = from; i < end; i++) {
    const struct fmt_comment *c = &t->comments.data[i];
    if (keeps_blanks && c->blank_before) blank_line(p);
    begin_line(p, column, !keeps_blanks);
    if (c->continues) p->line.comment = c->text;
    else add_text(p, c->text, fmt_text_width(c->text));
    end_line(p);
    p->opens = false;
  }
}

// Gets ready for token i: its comments, and a new line where they or `at`, a break taken here, ask for one.
static void prepare(struct layout *p, const struct fmt_group *g, int i, const struct fmt_break *at, bool apart) {
  if (p->prepared > i) return;
  p->prepared = i + 1;
  const struct fmt_token *t = &p->tokens->data[i];
  bool statement = at && at->statement, trails = t->comments.len > 0 && t->comments.data[0].trailing && p->in_line;
  int column = group_column(p, g, at ? at->offset : g->offset);
  if (trails) p->line.comment = t->comments.data[0].text;
  if (at || t->comments.len > 0) end_line(p);
  int above = trails, comment_column = at ? group_column(p, g, at->comment_offset) : column;
  while (above < t->comments.len && t->comments.data[above].continues) above++;
  put_comments(p, t, trails, above, comment_column, statement);
  if (apart) blank_line(p);
  put_comments(p, t, above, t->comments.len, comment_column, statement);
  if (statement && t->blank_before && t->kind != T_RBRACE && *t->text) blank_line(p);
  if (!p->in_line && *t->text) begin_line(p, column, !statement);
}

static void put(struct layout *p, int i) {
  const struct fmt_token *t = &p->tokens->data[i];
  if (t->space && *p->line.text) add_text(p, " ", 1);
  if (t->column && p->line.column == FMT_NO_COLUMN) {
    p->line.column = t->column;
    p->line.assign = (int)strlen(p->line.text);
  }
  p->column[i] = p->line.width;
  add_text(p, t->text, t->width);
  p->put = i + 1;
  p->opens = t->kind == T_LBRACE;
}

// ---- groups --------------------------------------------------------------------------------------
// Columns that the tokens [first, end) take on the current line, with the tail that cannot be broken off.
static bool fits(const struct layout *p, int first, int end, int column, int tail) {
  return !has_comments(p, first, end) && column + flat_width(p, first, end) - p->tokens->data[first].space + tail <= FMT_WIDTH;
}

// Where token i would stand if it went on the current line.
static int column_here(const struct layout *p, int i) {
  return p->line.width + (p->tokens->data[i].space && *p->line.text);
}

static int segment_end(const struct fmt_group *g, int at) {
  return at + 1 < g->breaks.len ? g->breaks.data[at + 1].token : g->end;
}

static int segment_tail(const struct layout *p, const struct fmt_group *g, int at) {
  return at + 1 < g->breaks.len ? 0 : tail_width(p, g->end);
}

static bool fits_at(const struct layout *p, const struct fmt_group *g, int at, int column) {
  return fits(p, g->breaks.data[at].token, segment_end(g, at), column, segment_tail(p, g, at));
}

// Whether a bracket's items hang: the widest does not fit behind it, and would where it hangs, or there is
// hardly room for any behind it.
static bool hangs(const struct layout *p, const struct fmt_group *g) {
  int first = g->breaks.data[0].token;
  int behind = column_here(p, g->first) + flat_width(p, g->first, first) - p->tokens->data[g->first].space;
  int hanging = p->line.indent + HANGING_INDENT;
  if (hanging >= behind) return false;
  if (p->tokens->data[first].comments.len > 0) return true;
  for (int i = 0; i < g->breaks.len; i++)
    if (!fits_at(p, g, i, behind) && (fits_at(p, g, i, hanging) || FMT_WIDTH - behind < LEAST_ROOM)) return true;
  return false;
}

static bool breaks_at(const struct layout *p, const struct fmt_group *g, int at) {
  if (g->all) return true;
  if (g->bracket && at == 0) return g->hanging >= 0;
  int i = g->breaks.data[at].token;
  return !fits_at(p, g, at, column_here(p, i)) && group_column(p, g, g->breaks.data[at].offset) < column_here(p, i);
}

static void put_group(struct layout *p, struct fmt_group *g);

static void put_broken(struct layout *p, struct fmt_group *g) {
  if (g->bracket && hangs(p, g)) g->hanging = p->line.indent + HANGING_INDENT;
  int at = 0, child = 0, begun = 0;
  for (int i = g->first; i < g->end;) {
    if (at < g->breaks.len && g->breaks.data[at].token == i) {
      const struct fmt_break *taken = breaks_at(p, g, at) ? &g->breaks.data[at] : NULL;
      bool apart = taken && taken->apart && p->lines.len > begun;
      prepare(p, g, i, taken, apart);
      begun = p->lines.len;
      at++;
    }
    if (child < g->children.len && g->children.data[child]->first == i) {
      put_group(p, g->children.data[child]);
      i = g->children.data[child++]->end;
    } else {
      prepare(p, g, i, NULL, false);
      put(p, i++);
    }
  }
}

static void put_group(struct layout *p, struct fmt_group *g) {
  prepare(p, g->parent, g->first, NULL, false);
  if (g->forced || !fits(p, g->first, g->end, column_here(p, g->first), tail_width(p, g->end))) {
    put_broken(p, g);
    return;
  }
  for (int i = g->first; i < g->end; i++) put(p, i);
}

fmt_line_list fmt_layout(struct arena *a, const fmt_token_list *tokens, struct fmt_group *file) {
  static const struct fmt_break end = {.statement = true};
  struct layout p = {.arena = a, .tokens = tokens};
  measure(&p, file);
  put_broken(&p, file);
  prepare(&p, file, file->end, &end, false);
  return p.lines;
}
