// elab_einsum.c: `einsum("nd,ne->de", a, b)` in NumPy's language of subscripts.
//
// A letter names an axis of each operand that has it; what the result does not name is summed over.
// Without `->` the result has the letters that occur once, in alphabetical order. A letter twice in
// one operand is its diagonal. `...` are the axes that no letter names, aligned at their ends; they
// come first in a result that is not written. Sizes of one letter are equal, or 1, which stretches,
// but within one operand they are equal.
//
// It becomes what one would have written by hand: transposes, diagonals and sums of single
// operands, then products of pairs. Axes of size 1 are shed at first and put back at last, so that
// nothing stretches in between. Of a pair's letters there are four groups:
//
//   batch  in both, still needed      rows     in the first only
//   inner  in both, not needed        columns  in the second only
//
// With rows, columns and inner letters it is a matrix product [batch, rows, inner] @ [batch, inner,
// columns], else multiplication, and a sum over what is inner. Which pairs come first is decided by
// the number of multiplications, over all orders (there are few operands).
#include <ctype.h>
#include <string.h>

#include "elab_builtin.h"

// Letters are numbered in alphabetical order, capitals first, as NumPy sorts them; after them come
// the axes of `...`, from the last.
enum {
  OPERANDS = BUILTIN_PARAMS - 1,
  FIRST_ELLIPSIS = 52,
  LABELS = FIRST_ELLIPSIS + MAX_RANK,
  ELLIPSIS = '.',
};
typedef uint64_t label_set;

// The subscripts of one operand, or of the result.
struct term {
  int n;
  char letter[MAX_RANK + 1]; // or ELLIPSIS
  int at[MAX_RANK + 1];      // where it stands in the text
  int begin, end;            // of the whole, in the text
  bool ellipsis;
};

struct factor {
  struct node *node;
  int n, label[MAX_RANK]; // of its axes
  label_set set;
};

struct einsum {
  struct call *c;
  const char *text;
  int n; // operands
  struct value operand[OPERANDS];
  struct term term[OPERANDS], result;
  bool has_result; // it was written
  struct factor factor[OPERANDS];
  int n_out, out[MAX_RANK]; // labels of the result
  label_set wanted;
  int64_t size[LABELS];
  struct axis *axis[LABELS];
  // By set of operands: what is left of them multiplied, and the cheapest way to it.
  label_set left[1 << OPERANDS];
  double cost[1 << OPERANDS];
  unsigned split[1 << OPERANDS]; // the first of the pair
};

// ---- mistakes ---------------------------------------------------------------------------------

// The place of text[at … at + length): in the string, where it stands in the call as it is.
static struct loc text_loc(const struct einsum *s, int at, int length) {
  struct loc loc = s->c->given[0].loc;
  const char *line;
  size_t bytes, first = (size_t)loc.column - 1, quoted = strlen(s->text) + 2;
  bool verbatim = loc.line > 0 && loc.line == loc.end_line &&
                  source_line(&s->c->e->b->files.data[loc.file], loc.line, &line, &bytes) &&
                  first + quoted <= bytes && line[first] == '"' &&
                  strncmp(line + first + 1, s->text, quoted - 2) == 0 &&
                  line[first + quoted - 1] == '"';
  if (!verbatim) return loc;
  loc.column += 1 + at;
  loc.end_column = loc.column + (length > 0 ? length : 1);
  return loc;
}

__attribute__((format(printf, 4, 5))) static bool wrong(const struct einsum *s, int at, int length,
                                                        const char *format, ...) {
  va_list args;
  va_start(args, format);
  const char *message = str_vprintf(s->c->e->b->arena, format, args);
  va_end(args);
  elab_error(s->c->e, s->c->f, text_loc(s, at, length), "in \"%s\": %s", s->text, message);
  return false;
}

// ---- the text ---------------------------------------------------------------------------------

static bool read_subscript(struct einsum *s, struct term *t, int *at) {
  char c = s->text[*at];
  bool dots = strncmp(s->text + *at, "...", 3) == 0;
  int length = dots ? 3 : 1;
  if (c == '.' && !dots) return wrong(s, *at, 1, "an ellipsis has three dots, `...`");
  if (!dots && !isalpha((unsigned char)c))
    return wrong(s, *at, 1,
                 "%s is no subscript: letters name axes, `...` stands for the others, `,` goes "
                 "between operands, `->` before the result",
                 isprint((unsigned char)c) ? str_printf(s->c->e->b->arena, "`%c`", c) : "this");
  if (dots && t->ellipsis) return wrong(s, *at, 3, "a second `...` in one operand");
  if (t->n > MAX_RANK) return wrong(s, *at, length, "a tensor has at most %d axes", MAX_RANK);
  t->at[t->n] = *at;
  t->letter[t->n++] = dots ? ELLIPSIS : c;
  t->ellipsis |= dots;
  *at += length;
  return true;
}

static bool read_term(struct einsum *s, struct term *t, int *at) {
  t->begin = *at;
  for (;;) {
    while (s->text[*at] == ' ') ++*at;
    t->end = *at;
    if (s->text[*at] == 0 || s->text[*at] == ',' || strncmp(s->text + *at, "->", 2) == 0)
      return true;
    if (!read_subscript(s, t, at)) return false;
  }
}

static bool read_text(struct einsum *s) {
  int at = 0, n = 0;
  for (;; at++) {
    if (n == s->n)
      return wrong(s, at, 1, "these are subscripts for more than the %d operand%s that follow%s", n,
                   n == 1 ? "" : "s", n == 1 ? "s" : "");
    if (!read_term(s, &s->term[n++], &at)) return false;
    if (s->text[at] != ',') break;
  }
  if (n < s->n)
    return wrong(s, at, 1, "subscripts for %d operand%s, but %d follow; `,` goes between operands",
                 n, n == 1 ? "" : "s", s->n);
  s->has_result = s->text[at] == '-';
  if (!s->has_result) return true;
  at += 2;
  if (!read_term(s, &s->result, &at)) return false;
  return s->text[at] == 0 || wrong(s, at, 1, "the result is one tensor; nothing follows it");
}

// ---- axes -------------------------------------------------------------------------------------

static int label_of(char letter) {
  return isupper((unsigned char)letter) ? letter - 'A' : 26 + letter - 'a';
}
static label_set bit(int label) { return (label_set)1 << label; }

// The labels of a tensor with `rank` axes. False after a diagnostic.
static bool label_axes(const struct einsum *s, const struct term *t, int k, int *label) {
  const struct value *x = &s->operand[k];
  int rank = value_rank(x), letters = t->n - t->ellipsis, rest = rank - letters, i = 0;
  if (rest < 0 || (rest > 0 && !t->ellipsis))
    return wrong(s, t->begin, t->end - t->begin, "%d letter%s for operand %d, which is %s%s",
                 letters, letters == 1 ? "" : "s", k + 1, tensor_text(s->c->e, x),
                 rest > 0 ? "; `...` stands for axes without a letter" : "");
  for (int j = 0; j < t->n; j++) {
    if (t->letter[j] != ELLIPSIS)
      label[i++] = label_of(t->letter[j]);
    else
      for (int e = rest; e-- > 0;) label[i++] = FIRST_ELLIPSIS + e;
  }
  return true;
}

// Where axis i of operand k is named in the text.
static void subscript_place(const struct einsum *s, int k, int label, int *at, int *length) {
  const struct term *t = &s->term[k];
  for (int j = 0; j < t->n; j++) {
    bool here =
        t->letter[j] == ELLIPSIS ? label >= FIRST_ELLIPSIS : label_of(t->letter[j]) == label;
    *at = t->at[j], *length = t->letter[j] == ELLIPSIS ? 3 : 1;
    if (here) return;
  }
}

static const char *subscript_name(const struct einsum *s, int label) {
  if (label >= FIRST_ELLIPSIS)
    return str_printf(s->c->e->b->arena, "axis %d of `...`", FIRST_ELLIPSIS - 1 - label);
  return str_printf(s->c->e->b->arena, "`%c`", label < 26 ? 'A' + label : 'a' + label - 26);
}

static bool sizes_differ(const struct einsum *s, int k, int label, int64_t size, int64_t other) {
  int at = 0, length = 0;
  subscript_place(s, k, label, &at, &length);
  return wrong(s, at, length,
               "%s is %lld in operand %d, %s, and %lld before; a letter has one size",
               subscript_name(s, label), (long long)size, k + 1,
               tensor_text(s->c->e, &s->operand[k]), (long long)other);
}

static bool names_differ(const struct einsum *s, int k, int label, const struct axis *is) {
  const struct axis *was = s->axis[label];
  int at = 0, length = 0;
  subscript_place(s, k, label, &at, &length);
  wrong(s, at, length,
        "%s joins the axes `%s` and `%s`, which are different, even of one size; give each a "
        "letter of its own",
        subscript_name(s, label), was->name, is->name);
  elab_note(s->c->e, was->loc, "`%s` is %lld by %s", was->name, (long long)was->size, was->where);
  elab_note(s->c->e, is->loc, "`%s` is %lld by %s", is->name, (long long)is->size, is->where);
  return false;
}

static bool meet_sizes(struct einsum *s, int k) {
  const struct factor *x = &s->factor[k];
  int64_t own[LABELS] = {0};
  for (int i = 0; i < x->n; i++) {
    int label = x->label[i];
    int64_t size = value_dim(&s->operand[k], i), *known = &s->size[label];
    if (own[label] && own[label] != size) return sizes_differ(s, k, label, size, own[label]);
    own[label] = size;
    if (*known > 1 && size > 1 && *known != size) return sizes_differ(s, k, label, size, *known);
    if (size > *known) *known = size;
  }
  return true;
}

// What stretches from 1 leaves its name behind.
static bool meet_names(struct einsum *s, int k) {
  const struct factor *x = &s->factor[k];
  for (int i = 0; i < x->n; i++) {
    int label = x->label[i];
    struct axis *axis = s->operand[k].axes[i];
    if (!axis || value_dim(&s->operand[k], i) != s->size[label]) continue;
    if (s->axis[label] && s->axis[label] != axis) return names_differ(s, k, label, axis);
    s->axis[label] = axis;
  }
  return true;
}

// ---- the result -------------------------------------------------------------------------------

static bool has_label(const struct einsum *s, int label) { return s->size[label] > 0; }
static int ellipsis_axes(const struct einsum *s) {
  int n = 0;
  while (n < MAX_RANK && has_label(s, FIRST_ELLIPSIS + n)) n++;
  return n;
}

static bool append_label(struct einsum *s, int label, int at, int length) {
  if (s->n_out == MAX_RANK)
    return wrong(s, at, length, "the result would have more than %d axes", MAX_RANK);
  s->out[s->n_out++] = label;
  s->wanted |= bit(label);
  return true;
}

static bool append_ellipsis(struct einsum *s, int at) {
  for (int e = ellipsis_axes(s); e-- > 0;)
    if (!append_label(s, FIRST_ELLIPSIS + e, at, 3)) return false;
  return true;
}

static bool implicit_result(struct einsum *s) {
  int times[FIRST_ELLIPSIS] = {0}, end = (int)strlen(s->text);
  for (int k = 0; k < s->n; k++)
    for (int j = 0; j < s->term[k].n; j++)
      if (s->term[k].letter[j] != ELLIPSIS) times[label_of(s->term[k].letter[j])]++;
  if (!append_ellipsis(s, end)) return false;
  for (int label = 0; label < FIRST_ELLIPSIS; label++)
    if (times[label] == 1 && !append_label(s, label, end, 1)) return false;
  return true;
}

static bool find_result(struct einsum *s) {
  const struct term *t = &s->result;
  if (!s->has_result) return implicit_result(s);
  for (int j = 0; j < t->n; j++) {
    if (t->letter[j] == ELLIPSIS) {
      if (!append_ellipsis(s, t->at[j])) return false;
      continue;
    }
    int label = label_of(t->letter[j]);
    if (!has_label(s, label))
      return wrong(s, t->at[j], 1, "`%c` of the result is in no operand", t->letter[j]);
    if (s->wanted & bit(label))
      return wrong(
          s, t->at[j], 1,
          "`%c` is twice in the result; what is on a diagonal is said by a product with `eye(…)`",
          t->letter[j]);
    if (!append_label(s, label, t->at[j], 1)) return false;
  }
  if (!t->ellipsis && ellipsis_axes(s) > 0)
    return wrong(
        s, t->begin, t->end - t->begin,
        "the result lacks the axes of `...`; write `...` in it, or give the axes that are to be "
        "summed letters");
  return true;
}

// ---- single operands --------------------------------------------------------------------------

static void drop_axis(struct factor *x, int i) {
  memmove(&x->label[i], &x->label[i + 1], sizeof *x->label * (size_t)(x->n - i - 1));
  x->n--;
}

static int axis_of(const struct factor *x, int label) {
  for (int i = 0; i < x->n; i++)
    if (x->label[i] == label) return i;
  return -1;
}

static void permute(struct graph *g, struct factor *x, const int *label) {
  int perm[MAX_RANK];
  for (int i = 0; i < x->n; i++) perm[i] = axis_of(x, label[i]);
  x->node = g_transpose(g, x->node, perm);
  memcpy(x->label, label, sizeof *label * (size_t)x->n);
}

static void shed_ones(struct graph *g, struct factor *x) {
  struct shape kept = {0};
  const struct shape *s = &x->node->type.shape;
  for (int i = 0, at = 0; i < s->rank; i++) {
    if (s->dim[i] == 1)
      drop_axis(x, at);
    else
      kept.dim[kept.rank++] = s->dim[i], at++;
  }
  x->node = g_reshape(g, x->node, &kept);
}

// The diagonal of axes i and j, which becomes the last axis.
static void take_diagonal(struct graph *g, struct factor *x, int i, int j) {
  int perm[MAX_RANK], n = 0, label = x->label[i];
  for (int k = 0; k < x->n; k++)
    if (k != i && k != j) perm[n++] = k;
  perm[n] = i, perm[n + 1] = j;
  x->node = g_unary(g, OP_diag, g_transpose(g, x->node, perm));
  drop_axis(x, j);
  drop_axis(x, i);
  x->label[x->n++] = label;
}

static void take_diagonals(struct graph *g, struct factor *x) {
  for (int i = 0; i < x->n; i++)
    for (int j = i + 1; j < x->n; j++) {
      if (x->label[i] != x->label[j]) continue;
      take_diagonal(g, x, i, j);
      i = j = -1; // again from the beginning
      break;
    }
}

static void sum_except(struct graph *g, struct factor *x, label_set needed) {
  int axes[MAX_RANK] = {0}, n = 0;
  for (int i = 0; i < x->n; i++)
    if (!(needed & bit(x->label[i]))) axes[n++] = i;
  x->node = g_reduce(g, OP_sum, x->node, axes, n);
  while (n-- > 0) drop_axis(x, axes[n]);
}

static void label_set_of(struct factor *x) {
  x->set = 0;
  for (int i = 0; i < x->n; i++) x->set |= bit(x->label[i]);
}

// Each operand by itself: no axis of size 1, no letter twice, none that only it has and nobody
// wants.
static void prepare(struct einsum *s) {
  struct graph *g = s->c->e->graph;
  for (int k = 0; k < s->n; k++) {
    shed_ones(g, &s->factor[k]);
    take_diagonals(g, &s->factor[k]);
    label_set_of(&s->factor[k]);
  }
  for (int k = 0; k < s->n; k++) {
    label_set needed = s->wanted;
    for (int i = 0; i < s->n; i++)
      if (i != k) needed |= s->factor[i].set;
    sum_except(g, &s->factor[k], needed);
    label_set_of(&s->factor[k]);
  }
}

// ---- the order --------------------------------------------------------------------------------

static int set_count(label_set x) { return __builtin_popcountll(x); }

static bool is_matrix_product(const struct einsum *s, label_set a, label_set b, label_set left) {
  return dtype_is_float(s->factor[0].node->type.dtype) && (a & b & ~left) && (a & ~b) && (b & ~a);
}

static double multiplications(const struct einsum *s, label_set labels) {
  double n = 1;
  for (int i = 0; i < LABELS; i++)
    if (labels & bit(i)) n *= (double)s->size[i];
  return n;
}

// What the product of a set of operands has to keep.
static label_set left_of(const struct einsum *s, unsigned of) {
  label_set within = 0, without = s->wanted;
  for (int k = 0; k < s->n; k++) {
    if (of >> k & 1)
      within |= s->factor[k].set;
    else
      without |= s->factor[k].set;
  }
  return within & without;
}

// Sets in order of size of their number: the parts of one come before it.
static bool find_order(struct einsum *s) {
  unsigned all = (1u << s->n) - 1;
  for (unsigned of = 1; of <= all; of++) {
    s->left[of] = left_of(s, of);
    s->cost[of] = of & (of - 1) ? -1 : 0; // -1: there is no way
    if (set_count(s->left[of]) > MAX_RANK) continue;
    for (unsigned a = of & (of - 1); a > 0; a = (a - 1) & of) {
      unsigned b = of & ~a;
      if (a > b || s->cost[a] < 0 || s->cost[b] < 0) continue;
      label_set both = s->left[a] | s->left[b];
      bool matrix = is_matrix_product(s, s->left[a], s->left[b], s->left[of]);
      if (!matrix && set_count(both) > MAX_RANK) continue;
      double cost = s->cost[a] + s->cost[b] + multiplications(s, both);
      if (s->cost[of] >= 0 && cost >= s->cost[of]) continue;
      s->cost[of] = cost;
      s->split[of] = a;
    }
  }
  if (s->cost[all] >= 0) return true;
  return wrong(s, 0, (int)strlen(s->text),
               "a product of two of its operands would have more than %d axes; einsum two or three "
               "at a time",
               MAX_RANK);
}

// ---- products of two --------------------------------------------------------------------------

// Labels of x within `of`, in x's order; returns how many.
static int labels_in(const struct factor *x, label_set of, int *out) {
  int n = 0;
  for (int i = 0; i < x->n; i++)
    if (of & bit(x->label[i])) out[n++] = x->label[i];
  return n;
}

static int64_t elements(const struct einsum *s, const int *label, int n) {
  int64_t size = 1;
  for (int i = 0; i < n; i++) size *= s->size[label[i]];
  return size;
}

static struct shape shape_of_labels(const struct einsum *s, const int *label, int n) {
  struct shape shape = {.rank = n};
  for (int i = 0; i < n; i++) shape.dim[i] = s->size[label[i]];
  return shape;
}

// x as [batch, first, second], the last two being one axis each.
static struct node *as_matrices(const struct einsum *s, const struct factor *x, const int *batch,
                                int n_batch, const int *first, int n_first, const int *second,
                                int n_second) {
  struct factor sorted = *x;
  int label[MAX_RANK];
  memcpy(label, batch, sizeof *batch * (size_t)n_batch);
  memcpy(label + n_batch, first, sizeof *first * (size_t)n_first);
  memcpy(label + n_batch + n_first, second, sizeof *second * (size_t)n_second);
  permute(s->c->e->graph, &sorted, label);
  struct shape shape = shape_of_labels(s, batch, n_batch);
  shape.dim[shape.rank++] = elements(s, first, n_first);
  shape.dim[shape.rank++] = elements(s, second, n_second);
  return g_reshape(s->c->e->graph, sorted.node, &shape);
}

// The first row stands before the first column in the result.
static bool in_order(const struct einsum *s, const struct factor *a, const struct factor *b) {
  for (int i = 0; i < s->n_out; i++) {
    if (!((a->set ^ b->set) & bit(s->out[i]))) continue;
    return a->set & bit(s->out[i]);
  }
  return true;
}

static bool multiply_matrices(struct einsum *s, const struct factor *a, const struct factor *b,
                              label_set left, struct factor *y) {
  int batch[MAX_RANK], row[MAX_RANK], inner[MAX_RANK], column[MAX_RANK];
  if (!in_order(s, a, b)) {
    const struct factor *swapped = a;
    a = b, b = swapped;
  }
  int n_batch = labels_in(a, b->set & left, batch), n_row = labels_in(a, ~b->set, row);
  int n_inner = labels_in(a, b->set & ~left, inner), n_column = labels_in(b, ~a->set, column);
  *y = (struct factor){.n = n_batch + n_row + n_column};
  memcpy(y->label, batch, sizeof batch[0] * (size_t)n_batch);
  memcpy(y->label + n_batch, row, sizeof row[0] * (size_t)n_row);
  memcpy(y->label + n_batch + n_row, column, sizeof column[0] * (size_t)n_column);
  struct shape shape = shape_of_labels(s, y->label, y->n);
  if (!size_fits(s->c->e, s->c->f, s->c->loc, &shape)) return false;
  struct node *x = as_matrices(s, a, batch, n_batch, row, n_row, inner, n_inner);
  struct node *w = as_matrices(s, b, batch, n_batch, inner, n_inner, column, n_column);
  y->node = g_reshape(s->c->e->graph, g_matmul(s->c->e->graph, x, w, false, false), &shape);
  return true;
}

// x in the order of `label`, repeated along those that it has not.
static struct node *spread(const struct einsum *s, const struct factor *x, const int *label,
                           const struct shape *shape) {
  struct factor sorted = *x;
  int own[MAX_RANK], axes[MAX_RANK], n = 0;
  for (int i = 0; i < shape->rank; i++)
    if (x->set & bit(label[i])) axes[n] = i, own[n++] = label[i];
  permute(s->c->e->graph, &sorted, own);
  return g_broadcast(s->c->e->graph, sorted.node, shape, axes);
}

static bool multiply_elements(struct einsum *s, const struct factor *a, const struct factor *b,
                              label_set left, struct factor *y) {
  const struct factor *wide = a->n >= b->n ? a : b, *narrow = wide == a ? b : a;
  *y = *wide;
  y->n += labels_in(narrow, ~wide->set, y->label + y->n);
  struct shape shape = shape_of_labels(s, y->label, y->n);
  if (!size_fits(s->c->e, s->c->f, s->c->loc, &shape)) return false;
  y->node = g_binary(s->c->e->graph, OP_mul, spread(s, a, y->label, &shape),
                     spread(s, b, y->label, &shape));
  sum_except(s->c->e->graph, y, left);
  return true;
}

static bool multiply(struct einsum *s, unsigned of, struct factor *y) {
  if (!(of & (of - 1))) {
    *y = s->factor[__builtin_ctz(of)];
    return true;
  }
  struct factor a, b;
  if (!multiply(s, s->split[of], &a) || !multiply(s, of & ~s->split[of], &b)) return false;
  bool matrix = is_matrix_product(s, a.set, b.set, s->left[of]);
  if (!(matrix ? multiply_matrices : multiply_elements)(s, &a, &b, s->left[of], y)) return false;
  label_set_of(y);
  return true;
}

// ---- all of it --------------------------------------------------------------------------------

static bool read_operands(struct einsum *s) {
  struct call *c = s->c;
  const struct value *shaped = NULL;
  while (s->n < OPERANDS && c->given[1 + s->n].present) {
    s->operand[s->n] = c->given[1 + s->n].value;
    if (s->operand[s->n].kind == V_TENSOR && !shaped) shaped = &s->operand[s->n];
    s->n++;
  }
  dtype t = shaped ? shaped->node->type.dtype : BT_F32;
  for (int k = 0; k < s->n; k++) {
    struct value *x = &s->operand[k];
    if (!as_tensor(c->e, c->f, x, t, "an operand of `einsum`")) return false;
    dtype is = x->node->type.dtype;
    if (is == t && t != BT_BOOL) continue;
    if (is == t)
      elab_error(c->e, c->f, c->given[1 + k].loc,
                 "`einsum` does not take %s; convert it with `f32(…)`", tensor_text(c->e, x));
    else
      elab_error(c->e, c->f, c->given[1 + k].loc,
                 "`einsum` of %s and %s: element types differ; convert one, as in `f32(…)`",
                 dtype_name(t), tensor_text(c->e, x));
    return false;
  }
  return true;
}

static bool find_axes(struct einsum *s) {
  for (int k = 0; k < s->n; k++) {
    struct factor *x = &s->factor[k];
    x->node = s->operand[k].node;
    x->n = value_rank(&s->operand[k]);
    if (!label_axes(s, &s->term[k], k, x->label) || !meet_sizes(s, k)) return false;
  }
  for (int k = 0; k < s->n; k++)
    if (!meet_names(s, k)) return false;
  return find_result(s);
}

// The product's axes in the order of the result, with those of size 1.
static struct value finish(struct einsum *s, struct factor *y) {
  struct graph *g = s->c->e->graph;
  int label[MAX_RANK], n = 0;
  for (int i = 0; i < s->n_out; i++)
    if (s->size[s->out[i]] > 1) label[n++] = s->out[i];
  permute(g, y, label);
  struct shape shape = shape_of_labels(s, s->out, s->n_out);
  struct value r = value_tensor(s->c->loc, g_reshape(g, y->node, &shape));
  for (int i = 0; i < s->n_out; i++) r.axes[i] = s->axis[s->out[i]];
  return r;
}

struct value builtin_einsum(struct call *c) {
  struct einsum *s = NEW(c->e->b->arena, struct einsum);
  const struct value *text = &c->given[0].value;
  if (text->kind != V_STRING) {
    elab_error(c->e, c->f, c->given[0].loc,
               "`einsum` begins with its subscripts, as in `einsum(\"nd,ne->de\", a, b)`, not %s",
               value_text(c->e, text));
    return value_error();
  }
  *s = (struct einsum){.c = c, .text = text->string};
  if (!read_operands(s) || !read_text(s) || !find_axes(s)) return value_error();
  graph_at(c->e, c->f, c->loc);
  prepare(s);
  struct factor y;
  if (!find_order(s) || !multiply(s, (1u << s->n) - 1, &y)) return value_error();
  return finish(s, &y);
}
