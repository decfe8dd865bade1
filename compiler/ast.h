// ast.h: the syntax tree of a .btg file, as grammar/btg.y builds it and elab*.c reads it.
//
// Nodes live in the compilation's arena and are immutable after parsing. Every node carries its
// place. Names are arena strings; labels of arguments are NULL where absent.
#ifndef BTC_AST_H
#define BTC_AST_H

#include "btc.h"

struct expr;
struct stmt;
struct type;

typedef VEC(struct expr *) expr_list;
typedef VEC(struct stmt *) stmt_list;
typedef VEC(struct type *) type_list;

struct block { struct loc loc; stmt_list stmts; };

// ---- expressions ------------------------------------------------------------------------------
enum expr_kind {
  E_INT,       // int_value
  E_FLOAT,     // float_value
  E_STRING,    // string (escapes resolved)
  E_BOOL,      // int_value
  E_NAME,      // string
  E_LIST,      // items
  E_FOR_LIST,  // [for NAME in a: b]          string, a, b
  E_UNARY,     // op a
  E_BINARY,    // a op b
  E_IF,        // if a then b else c
  E_CALL,      // a(args)
  E_INDEX,     // a[items]
  E_FIELD,     // a.string, also a.0
  E_TRANSPOSE, // a'
  E_RANGE,     // a..b, either may be NULL only inside an index or a type
  E_WILDCARD,  // _   in an index or a type
};

enum token_op { // source operators, in the spelling that messages show
  OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_FLOORDIV, OP_MOD, OP_MATMUL, OP_POW,
  OP_LT, OP_LE, OP_GT, OP_GE, OP_EQ, OP_NE, OP_AND, OP_OR, OP_NEG, OP_NOT,
};
const char *token_op_text(enum token_op op);

struct arg {
  struct loc loc;
  const char *label; // NULL: positional
  struct expr *value;
};
typedef VEC(struct arg) arg_list;

struct expr {
  enum expr_kind kind;
  struct loc loc;      // the whole expression
  struct loc op_loc;   // E_UNARY, E_BINARY: the operator; E_FIELD: the label; E_CALL: the "("
  enum token_op op;
  int64_t int_value;
  double float_value;
  const char *string;
  int depth;           // levels of nodes under and with this one: at most PARSE_MAX_DEPTH
  struct expr *a, *b, *c;
  expr_list items;
  arg_list args;
};

// ---- types ------------------------------------------------------------------------------------
// f32[n, c, ..s]: name "f32", dims {n, c, ..s}. [int]: name NULL, element. module: name "module".
enum dim_kind { DIM_EXPR, DIM_INFERRED /* _ */, DIM_PACK /* ..name */ };
struct dim_syntax {
  enum dim_kind kind;
  struct loc loc;
  struct expr *expr;  // DIM_EXPR; a plain E_NAME both names the axis and may bind a size
  const char *name;   // DIM_PACK
};
typedef VEC(struct dim_syntax) dim_list;
struct type {
  struct loc loc;
  const char *name;     // "f32", "int", "module", …; NULL for a list type
  struct type *element; // list type
  bool has_dims;        // f32 and f32[] are both scalars
  dim_list dims;
};

// ---- statements -------------------------------------------------------------------------------
struct name_at { const char *name; struct loc loc; };
// A dotted path, possibly with globs in strings: encoder.layer1.0
struct path { struct loc loc; VEC(struct name_at) parts; };
struct typed_name { const char *name; struct loc loc; struct type *type; /* may be NULL */ };
typedef VEC(struct path) path_list;
typedef VEC(struct typed_name) typed_name_list;

enum stmt_kind {
  S_PARAM,     // param NAME: type = value
  S_STATE,     // state NAME: type = value
  S_KEEP,      // keep NAME: type = value
  S_UPDATE,    // update NAME = value
  S_LET,       // let NAMES = exprs
  S_BIND,      // NAME = value                 binds an instance
  S_CALL,      // NAME(args)                   a view's step
  S_RETURN,    // return exprs
  S_FOR,       // for NAME in value body
  S_IF,        // if value body [else else_body]  (else-if nests a block of one S_IF)
  S_DATA,      // data NAMES (all typed)
  S_MINIMIZE,  // minimize value
  S_EPOCHS,    // epochs value
  S_OPTIMIZER, // optimizer value [on paths]
  S_REPORT,    // report NAME: value
  S_LOAD,      // load paths from NAME|STRING
  S_PASS,      // pass NAME body
  S_EVALUATE,  // evaluate NAME(args)          knn(features, labels, k: 20): fits on train, measures on test
  S_OUTPUT,    // output NAME: value
};

struct stmt {
  enum stmt_kind kind;
  struct loc loc;
  struct name_at name;           // the NAME of the forms above
  struct type *type;
  struct expr *value;
  typed_name_list names;         // S_LET, S_DATA
  expr_list values;              // S_LET, S_RETURN
  arg_list args;                 // S_CALL, S_EVALUATE
  struct block *body, *else_body;
  path_list paths;               // S_OPTIMIZER, S_LOAD
  bool from_string;              // S_LOAD: name is a file's path
};

// ---- declarations -----------------------------------------------------------------------------
struct param_decl {
  struct loc loc;
  const char *name;
  struct type *type;
  struct expr *default_value; // NULL: required
};
typedef VEC(struct param_decl) param_list;

enum decl_kind { D_IMPORT, D_CONST, D_FN, D_MODULE, D_VIEW, D_PROGRAM, D_INSTANCE, D_SCHEDULE };

struct schedule_entry { struct path address; const char *pattern; /* string form */ struct name_at variant; arg_list args; };
typedef VEC(struct schedule_entry) entry_list;

struct decl {
  enum decl_kind kind;
  struct loc loc;
  struct name_at name;          // D_IMPORT: the name after `as`, or NULL
  struct path path;             // D_IMPORT std.resnet
  const char *file;             // D_IMPORT "file.btg"
  struct type *type;            // D_CONST
  struct expr *value;           // D_CONST, D_INSTANCE, D_FN written `= expr`
  bool has_config;              // D_MODULE always; D_VIEW with parameters
  param_list config, inputs;    // D_MODULE (config)(inputs); D_FN inputs; D_VIEW config
  type_list results;            // after "->"; empty: inferred
  struct block *body;
  entry_list entries;
};

struct file {
  int source;               // index into btc.files
  VEC(struct decl *) decls;
};

// Neither expressions, brackets, blocks nor `else if` chains nest deeper than this: whoever walks the
// tree may recurse.
enum { PARSE_MAX_DEPTH = 256 };

// Parses a registered source. Never NULL; syntax errors are diagnosed, and what could be recovered
// is in the tree.
struct file *parse_file(struct btc *b, int source);

// Prints a file canonically (`btc compile --emit=ast`): parses back to the same tree.
void ast_print(FILE *out, const struct file *f);
void ast_print_expr(FILE *out, const struct expr *e);

#endif
