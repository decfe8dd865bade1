// diag.c: diagnostics, collected as they are found and printed in clang's form:
//
//   cifar10.btg:7:11: error: unknown name `linaer`
//     let y = linaer(10)
//             ^~~~~~
//             linear
//
// Columns in messages count bytes. Under the source line the caret counts what a terminal shows:
// tabs are expanded, UTF-8 characters take their width, bytes that are not text are written <FF>.
// A run that leaves its first line is cut at that line's end, and a very long line is shown through
// a window round the caret.
#include <string.h>

#include "btc.h"

enum { DIAG_TAB = 8, DIAG_WINDOW = 160, DIAG_CONTEXT = 40 };

// ---- collecting -------------------------------------------------------------------------------
// Past the limit errors are only counted, and what would explain them is dropped with them.
bool diag_is_full(const struct btc *b) {
  return b->opt.max_errors > 0 && b->n_errors > b->opt.max_errors;
}

static void diag_add(struct btc *b, enum severity severity, struct loc loc, const char *format,
                     va_list ap) {
  if (severity == SEV_WARNING && b->opt.warnings_are_errors) severity = SEV_ERROR;
  if (severity == SEV_ERROR) b->n_errors++;
  if (diag_is_full(b)) return;
  if (severity == SEV_WARNING) b->n_warnings++;
  struct diag d = {.severity = severity, .loc = loc};
  d.message = str_vprintf(b->arena, format, ap);
  vec_push(b->arena, &b->diags, d);
}

void diag_error(struct btc *b, struct loc loc, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  diag_add(b, SEV_ERROR, loc, format, ap);
  va_end(ap);
}

void diag_warning(struct btc *b, struct loc loc, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  diag_add(b, SEV_WARNING, loc, format, ap);
  va_end(ap);
}

void diag_note(struct btc *b, struct loc loc, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  diag_add(b, SEV_NOTE, loc, format, ap);
  va_end(ap);
}

void diag_fixit(struct btc *b, const char *replacement) {
  if (diag_is_full(b) || b->diags.len == 0) return;
  int i = b->diags.len - 1;
  while (i > 0 && b->diags.data[i].severity == SEV_NOTE) i--; // notes say where it came from
  b->diags.data[i].fixit = str_ndup(b->arena, replacement, strlen(replacement));
}

void diag_note_fixit(struct btc *b, const char *replacement) {
  if (diag_is_full(b) || b->diags.len == 0) return;
  b->diags.data[b->diags.len - 1].fixit = str_ndup(b->arena, replacement, strlen(replacement));
}

struct diag_mark diag_mark(const struct btc *b) { return (struct diag_mark){b->diags.len, b->n_errors, b->n_warnings}; }

void diag_rewind(struct btc *b, struct diag_mark mark) {
  if (b->diags.len > mark.diags) b->diags.len = mark.diags;
  b->n_errors = mark.errors;
  b->n_warnings = mark.warnings;
}

// ---- what a terminal shows --------------------------------------------------------------------
// Decodes one UTF-8 character of the n bytes at s: its length, or 0 where the bytes are not UTF-8.
static int diag_decode(const unsigned char *s, size_t n, uint32_t *code) {
  if (s[0] < 0x80) return *code = s[0], 1;
  int length = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
  if (s[0] < 0xC2 || s[0] > 0xF4 || (size_t)length > n) return 0;
  uint32_t c = s[0] & (0xFFu >> (length + 1));
  for (int i = 1; i < length; i++) {
    if ((s[i] & 0xC0) != 0x80) return 0;
    c = c << 6 | (s[i] & 0x3F);
  }
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (c < least[length] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) return 0;
  *code = c;
  return length;
}

struct code_range {
  uint32_t first, last;
};

static bool diag_in(const struct code_range *ranges, size_t n, uint32_t code) {
  for (size_t i = 0; i < n; i++)
    if (code >= ranges[i].first && code <= ranges[i].last) return true;
  return false;
}

// Columns that a character takes: the blocks of combining and of East Asian wide characters
// (Unicode TR 11), which is as much as source lines need; independent of the locale.
static int diag_width(uint32_t code) {
  static const struct code_range combining[] = {
      {0x300, 0x36F}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFEFF, 0xFEFF}};
  static const struct code_range wide[] = {
      {0x1100, 0x115F}, {0x2E80, 0xA4CF}, {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},  {0xFE30, 0xFE6F},
      {0xFF00, 0xFF60}, {0xFFE0, 0xFFE6}, {0x1F300, 0x1FAFF}, {0x20000, 0x3FFFD}};
  if (diag_in(combining, sizeof combining / sizeof *combining, code)) return 0;
  return diag_in(wide, sizeof wide / sizeof *wide, code) ? 2 : 1;
}

// ---- the source line --------------------------------------------------------------------------
struct glyph {
  char text[8];
  int length, byte, column, width;
};

struct rendered {
  VEC(struct glyph) glyphs;
  int bytes, columns; // of the whole line
};

static struct glyph diag_glyph(const unsigned char *s, size_t n, int column) {
  struct glyph g = {.column = column};
  uint32_t code = 0;
  int used = diag_decode(s, n, &code);
  if (used == 1 && code == '\t') {
    g.width = DIAG_TAB - column % DIAG_TAB;
    g.length = g.width;
    memset(g.text, ' ', sizeof g.text);
  } else if (used == 0 || code < 0x20 || code == 0x7F) {
    char text[8];
    g.length = g.width = snprintf(text, sizeof text, "<%02X>", (unsigned)s[0]);
    memcpy(g.text, text, sizeof g.text);
  } else {
    memcpy(g.text, s, (size_t)used);
    g.length = used;
    g.width = diag_width(code);
  }
  return g;
}

static struct rendered diag_render(struct arena *a, const char *line, size_t n) {
  struct rendered r = {0};
  for (size_t i = 0; i < n;) {
    uint32_t code;
    const unsigned char *s = (const unsigned char *)line + i;
    struct glyph g = diag_glyph(s, n - i, r.columns);
    g.byte = (int)i;
    vec_push(a, &r.glyphs, g);
    r.columns += g.width;
    int used = diag_decode(s, n - i, &code);
    i += (size_t)(used ? used : 1);
  }
  r.bytes = (int)n;
  return r;
}

// The display column at which byte `byte` of the line begins.
static int diag_column(const struct rendered *r, int byte) {
  for (int i = 0; i < r->glyphs.len; i++)
    if (r->glyphs.data[i].byte >= byte) return r->glyphs.data[i].column;
  return r->columns;
}

bool source_line(const struct source_file *f, int line, const char **text, size_t *length) {
  const char *s = f->text, *end = f->text + f->length;
  for (; line > 1; line--) {
    s = memchr(s, '\n', (size_t)(end - s));
    if (!s) return false;
    s++;
  }
  const char *stop = memchr(s, '\n', (size_t)(end - s));
  if (!stop) stop = end;
  if (stop > s && stop[-1] == '\r') stop--;
  *text = s;
  *length = (size_t)(stop - s);
  return true;
}

// ---- printing ---------------------------------------------------------------------------------
struct palette {
  const char *bold, *severity[3], *caret, *fixit, *reset;
};

static const struct palette *diag_palette(const struct btc *b) {
  static const struct palette plain = {"", {"", "", ""}, "", "", ""};
  static const struct palette color = {
      "\033[1m", {"\033[1;36m", "\033[1;35m", "\033[1;31m"}, "\033[1;32m", "\033[32m", "\033[0m"};
  return b->opt.color ? &color : &plain;
}

static void diag_print_head(const struct btc *b, const struct diag *d, FILE *out) {
  static const char *const words[] = {"note", "warning", "error"};
  const struct palette *p = diag_palette(b);
  fputs(p->bold, out);
  if (d->loc.line > 0)
    fprintf(out, "%s:%d:%d: ", b->files.data[d->loc.file].path, d->loc.line, d->loc.column);
  else
    fputs("btc: ", out);
  fprintf(out, "%s%s%s:%s %s%s%s\n", p->reset, p->severity[d->severity], words[d->severity],
          p->reset, p->bold, d->message, p->reset);
}

// The columns [from, to) of the line that are shown.
struct window {
  int from, to;
};

static struct window diag_window(const struct rendered *r, int caret) {
  struct window w = {0, r->columns};
  if (r->columns <= DIAG_WINDOW) return w;
  if (caret > DIAG_CONTEXT) w.from = caret - DIAG_CONTEXT;
  if (w.from + DIAG_WINDOW < r->columns) w.to = w.from + DIAG_WINDOW;
  return w;
}

static void diag_print_line(const struct rendered *r, struct window w, FILE *out) {
  fputs(w.from > 0 ? "..." : "", out);
  for (int i = 0; i < r->glyphs.len; i++) {
    const struct glyph *g = &r->glyphs.data[i];
    if (g->column >= w.from && g->column + g->width <= w.to)
      fwrite(g->text, 1, (size_t)g->length, out);
  }
  fputs(w.to < r->columns ? "...\n" : "\n", out);
}

static void diag_print_run(int indent, int width, const char *color, const char *reset, FILE *out) {
  fprintf(out, "%*s%s^", indent, "", color);
  for (int i = 1; i < width; i++) fputc('~', out);
  fprintf(out, "%s\n", reset);
}

static void diag_print_source(struct btc *b, const struct diag *d, FILE *out) {
  const char *line;
  size_t length;
  if (!source_line(&b->files.data[d->loc.file], d->loc.line, &line, &length)) return;
  struct rendered r = diag_render(b->arena, line, length);
  int end_byte = d->loc.end_line == d->loc.line ? d->loc.end_column - 1 : r.bytes;
  int from = diag_column(&r, d->loc.column - 1), to = diag_column(&r, end_byte);
  struct window w = diag_window(&r, from);
  if (to > w.to) to = w.to;
  diag_print_line(&r, w, out);
  const struct palette *p = diag_palette(b);
  int indent = from - w.from + (w.from > 0 ? 3 : 0);
  diag_print_run(indent, to - from, p->caret, p->reset, out);
  if (d->fixit && *d->fixit) fprintf(out, "%*s%s%s%s\n", indent, "", p->fixit, d->fixit, p->reset);
}

void diag_flush(struct btc *b, FILE *out) {
  if (b->diags.len == 0) return;
  for (int i = 0; i < b->diags.len; i++) {
    const struct diag *d = &b->diags.data[i];
    diag_print_head(b, d, out);
    if (d->loc.line > 0 && d->loc.file < b->files.len) diag_print_source(b, d, out);
  }
  b->diags.len = 0;
  if (diag_is_full(b))
    fprintf(out, "btc: %d more error%s not shown (the limit is %d)\n",
            b->n_errors - b->opt.max_errors, b->n_errors - b->opt.max_errors == 1 ? "" : "s", b->opt.max_errors);
}
