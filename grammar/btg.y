/* btg.y: tokens to the tree of compiler/ast.h.
 *
 * Statements have no terminators. It works because no statement begins with a token that could
 * continue an expression, and because the words that begin statements are either reserved or (the
 * soft ones: data, epochs, report, output, load, pass, keep, evaluate) never follow an operand; so a soft
 * word may also be a name. A line that begins with `-`, `(` or `[` continues the one before.
 *
 * An error pops the parser to the enclosing list of statements, entries or declarations, where it
 * waits for SYNC. The driver (compiler/parse.c) skips to the next place where one begins and sends
 * it. Builders are in compiler/parse_tree.c, messages in compiler/parse_error.c. */
%define api.pure full
%define api.push-pull push
%define api.prefix {btg_}
%define api.token.prefix {T_}
%define api.location.type {struct loc}
%define parse.error custom
%define parse.lac full
%locations
%expect 0
%parse-param {struct parser *p}

%code requires {
#include "ast.h"
struct parser;
}

%union {
  const char *string;
  int64_t integer;
  double number;
  struct name_at name;
  struct expr *expr;
  struct type *type;
  struct stmt *stmt;
  struct block *block;
  struct decl *decl;
  struct arg arg;
  struct param_decl param;
  struct path path;
  struct typed_name typed_name;
  struct schedule_entry entry;
  expr_list exprs;
  stmt_list stmts;
  type_list types;
  arg_list args;
  param_list params;
  path_list paths;
  typed_name_list typed_names;
  entry_list entries;
}

%code {
#include "parse.h"

#define YYLLOC_DEFAULT(Current, Rhs, N)                                                            \
  ((Current) = (N) ? parse_span(YYRHSLOC(Rhs, 1), YYRHSLOC(Rhs, N))                                \
                   : parse_span(YYRHSLOC(Rhs, 0), (struct loc){0}))
#define PUSH(list, item) vec_push(p->b->arena, &(list), item)
#define NO_NAME ((struct name_at){0})
#define NAME_AT(text, place) ((struct name_at){(text), (place)})

static void btg_error(struct loc *loc, struct parser *p, const char *message);
}

%token <string> NAME "name" STRING "string" INDEX "index"
%token <integer> INTEGER "integer"
%token <number> NUMBER "number"
%token IMPORT "import" CONST "const" FN "fn" MODULE "module" PROGRAM "program" SCHEDULE "schedule"
%token AS "as" PARAM "param" STATE "state" UPDATE "update" LET "let" RETURN "return" FOR "for"
%token IF "if" THEN "then" ELSE "else" MINIMIZE "minimize" OPTIMIZER "optimizer"
%token TRUE "true" FALSE "false" AND "and" OR "or" NOT "not"
%token <string> DATA "data" VIEW "view" EPOCHS "epochs" REPORT "report" LOAD "load" FROM "from"
%token <string> ON "on" PASS "pass" KEEP "keep" EVALUATE "evaluate" OUTPUT "output" IN "in"
%token ARROW "->" RANGE ".." DOT "." COMMA "," COLON ":" LPAREN "(" RPAREN ")" LBRACKET "["
%token RBRACKET "]" LBRACE "{" RBRACE "}" PRIME "'" ASSIGN "=" EQ "==" NE "!=" LE "<=" GE ">="
%token LT "<" GT ">" PLUS "+" MINUS "-" STAR "*" SLASH "/" FLOORDIV "//" PERCENT "%" AT "@"
%token CARET "^" WILDCARD "_"
%token SYNC "a place to go on" INVALID "nothing that fits" TOKEN_LAST "no token"

%precedence "else"
%nonassoc ".."
%left "or"
%left "and"
%precedence "not"
%nonassoc "<" "<=" ">" ">=" "==" "!="
%left "+" "-"
%left "*" "/" "//" "%" "@"
%precedence NEGATION
%right "^"

%type <string> word bind_word opt_name
%type <name> opt_as
%type <expr> expr post item default
%type <exprs> exprs items some_items
%type <type> type opt_type
%type <types> results types
%type <arg> arg
%type <args> args some_args opt_args
%type <param> param
%type <params> params some_params
%type <path> path
%type <paths> paths opt_on
%type <typed_name> typed_name data_name
%type <typed_names> typed_names data_names
%type <stmt> stmt if_stmt declarator
%type <stmts> stmts
%type <block> block
%type <decl> decl
%type <entry> entry
%type <entries> entries

%%

// ---- declarations ---------------------------------------------------------------------------

file
  : %empty
  | file decl                { PUSH(p->file->decls, $decl); }
  | file error "a place to go on"  { yyerrok; }
  ;

decl
  : "import" path opt_as
    { $$ = parse_decl(p, D_IMPORT, @$, $opt_as); $$->path = $path; }
  | "import" STRING opt_as
    { $$ = parse_decl(p, D_IMPORT, @$, $opt_as); $$->file = $STRING; }
  | "const" word opt_type "=" expr
    { $$ = parse_decl(p, D_CONST, @$, NAME_AT($word, @word));
      $$->type = $opt_type; $$->value = $expr; }
  | "fn" word params results block
    { $$ = parse_decl(p, D_FN, @$, NAME_AT($word, @word));
      $$->inputs = $params; $$->results = $results; $$->body = $block; }
  | "fn" word params results "=" expr
    { $$ = parse_decl(p, D_FN, @$, NAME_AT($word, @word));
      $$->inputs = $params; $$->results = $results; $$->value = $expr; }
  | "module" word params[config] params[inputs] results block
    { $$ = parse_decl(p, D_MODULE, @$, NAME_AT($word, @word));
      $$->has_config = true; $$->config = $config; $$->inputs = $inputs;
      $$->results = $results; $$->body = $block; }
  | "view" word block
    { $$ = parse_decl(p, D_VIEW, @$, NAME_AT($word, @word)); $$->body = $block; }
  | "view" word params block
    { $$ = parse_decl(p, D_VIEW, @$, NAME_AT($word, @word));
      $$->has_config = true; $$->config = $params; $$->body = $block; }
  | "program" word block
    { $$ = parse_decl(p, D_PROGRAM, @$, NAME_AT($word, @word)); $$->body = $block; }
  | bind_word "=" expr
    { $$ = parse_decl(p, D_INSTANCE, @$, NAME_AT($bind_word, @bind_word)); $$->value = $expr; }
  | "schedule" opt_name schedule_open entries "}"
    { parse_close_block(p);
      $$ = parse_decl(p, D_SCHEDULE, @$, NAME_AT($opt_name, @opt_name)); $$->entries = $entries; }
  ;

opt_as
  : %empty      { $$ = NO_NAME; }
  | "as" word   { $$ = NAME_AT($word, @word); }
  ;

opt_name
  : %empty      { $$ = NULL; }
  | word
  ;

results
  : %empty      { $$ = (type_list){0}; }
  | "->" types  { $$ = $types; }
  ;

types
  : type                { $$ = (type_list){0}; PUSH($$, $type); }
  | types "," type      { $$ = $1; PUSH($$, $type); }
  ;

params
  : "(" ")"                 { $$ = (param_list){0}; }
  | "(" some_params ")"     { $$ = $2; }
  | "(" some_params "," ")" { $$ = $2; }
  ;

some_params
  : param                   { $$ = (param_list){0}; PUSH($$, $param); }
  | some_params "," param   { $$ = $1; PUSH($$, $param); }
  ;

param
  : word ":" type default   { $$ = (struct param_decl){@$, $word, $type, $default}; }
  ;

default
  : %empty      { $$ = NULL; }
  | "=" expr    { $$ = $expr; }
  ;

schedule_open
  : "{"         { parse_open_block(p, @1, true); }
  ;

entries
  : %empty              { $$ = (entry_list){0}; }
  | entries entry       { $$ = $1; PUSH($$, $entry); }
  | entries error "a place to go on"  { $$ = $1; yyerrok; }
  ;

entry
  : path ":" word opt_args
    { $$ = (struct schedule_entry){
        .address = $path, .variant = NAME_AT($word, @word), .args = $opt_args}; }
  | STRING ":" word opt_args
    { $$ = (struct schedule_entry){.address.loc = @STRING, .pattern = $STRING,
        .variant = NAME_AT($word, @word), .args = $opt_args}; }
  ;

opt_args
  : %empty      { $$ = (arg_list){0}; }
  | args
  ;

// ---- types ----------------------------------------------------------------------------------

type
  : NAME                { $$ = parse_type(p, @$, $NAME, NULL); }
  | NAME "[" items "]"  { $$ = parse_type(p, @$, $NAME, NULL); parse_dims(p, $$, $items); }
  | "[" type "]"        { $$ = parse_type(p, @$, NULL, $2); }
  | "module"            { $$ = parse_type(p, @$, "module", NULL); }
  ;

opt_type
  : %empty      { $$ = NULL; }
  | ":" type    { $$ = $type; }
  ;

// ---- statements -----------------------------------------------------------------------------

block
  : block_open stmts "}"
    { parse_close_block(p); $$ = parse_block(p, @$, $stmts); }
  ;

block_open
  : "{"         { parse_open_block(p, @1, false); }
  ;

stmts
  : %empty      { $$ = (stmt_list){0}; }
  | stmts stmt  { $$ = $1; PUSH($$, $stmt); }
  | stmts error "a place to go on"  { $$ = $1; yyerrok; }
  ;

stmt
  : "param" declarator  { $$ = $2; $$->kind = S_PARAM; $$->loc = @$; }
  | "state" declarator  { $$ = $2; $$->kind = S_STATE; $$->loc = @$; }
  | "keep" declarator   { $$ = $2; $$->kind = S_KEEP; $$->loc = @$; }
  | "update" word "=" expr
    { $$ = parse_stmt(p, S_UPDATE, @$, NAME_AT($word, @word), $expr); }
  | "let" typed_names "=" exprs
    { $$ = parse_stmt(p, S_LET, @$, NO_NAME, NULL);
      $$->names = $typed_names; $$->values = $exprs; }
  | bind_word "=" expr
    { $$ = parse_stmt(p, S_BIND, @$, NAME_AT($bind_word, @bind_word), $expr); }
  | NAME args
    { $$ = parse_stmt(p, S_CALL, @$, NAME_AT($NAME, @NAME), NULL); $$->args = $args; }
  | "return" exprs
    { $$ = parse_stmt(p, S_RETURN, @$, NO_NAME, NULL); $$->values = $exprs; }
  | "for" word "in" expr block
    { $$ = parse_stmt(p, S_FOR, @$, NAME_AT($word, @word), $expr); $$->body = $block; }
  | if_stmt
  | "data" data_names
    { $$ = parse_stmt(p, S_DATA, @$, NO_NAME, NULL); $$->names = $data_names; }
  | "minimize" expr
    { $$ = parse_stmt(p, S_MINIMIZE, @$, NO_NAME, $expr); }
  | "epochs" expr
    { $$ = parse_stmt(p, S_EPOCHS, @$, NO_NAME, $expr); }
  | "optimizer" expr opt_on
    { $$ = parse_stmt(p, S_OPTIMIZER, @$, NO_NAME, $expr); $$->paths = $opt_on; }
  | "report" word ":" expr
    { $$ = parse_stmt(p, S_REPORT, @$, NAME_AT($word, @word), $expr); }
  | "output" word ":" expr
    { $$ = parse_stmt(p, S_OUTPUT, @$, NAME_AT($word, @word), $expr); }
  | "load" paths "from" word
    { $$ = parse_stmt(p, S_LOAD, @$, NAME_AT($word, @word), NULL); $$->paths = $paths; }
  | "load" paths "from" STRING
    { $$ = parse_stmt(p, S_LOAD, @$, NAME_AT($STRING, @STRING), NULL);
      $$->paths = $paths; $$->from_string = true; }
  | "pass" word block
    { $$ = parse_stmt(p, S_PASS, @$, NAME_AT($word, @word), NULL); $$->body = $block; }
  | "evaluate" word args
    { $$ = parse_stmt(p, S_EVALUATE, @$, NAME_AT($word, @word), NULL); $$->args = $args; }
  ;

declarator
  : word ":" type "=" expr
    { $$ = parse_stmt(p, S_PARAM, @$, NAME_AT($word, @word), $expr); $$->type = $type; }
  ;

if_stmt
  : "if" expr block
    { $$ = parse_stmt(p, S_IF, @$, NO_NAME, $expr); $$->body = $block; }
  | "if" expr block[then] "else" block[otherwise]
    { $$ = parse_stmt(p, S_IF, @$, NO_NAME, $expr);
      $$->body = $then; $$->else_body = $otherwise; }
  | "if" expr block "else" if_stmt[otherwise]
    { $$ = parse_stmt(p, S_IF, @$, NO_NAME, $expr);
      $$->body = $block; $$->else_body = parse_else_if(p, $otherwise); }
  ;

typed_names
  : typed_name                  { $$ = (typed_name_list){0}; PUSH($$, $typed_name); }
  | typed_names "," typed_name  { $$ = $1; PUSH($$, $typed_name); }
  ;

typed_name
  : word opt_type       { $$ = (struct typed_name){$word, @word, $opt_type}; }
  ;

data_names
  : data_name                   { $$ = (typed_name_list){0}; PUSH($$, $data_name); }
  | data_names "," data_name    { $$ = $1; PUSH($$, $data_name); }
  ;

data_name
  : word ":" type       { $$ = (struct typed_name){$word, @word, $type}; }
  ;

opt_on
  : %empty      { $$ = (path_list){0}; }
  | "on" paths  { $$ = $paths; }
  ;

paths
  : path                { $$ = (path_list){0}; PUSH($$, $path); }
  | paths "," path      { $$ = $1; PUSH($$, $path); }
  ;

path
  : word                { $$ = (struct path){.loc = @$}; PUSH($$.parts, NAME_AT($word, @word)); }
  | path "." word       { $$ = $1; $$.loc = @$; PUSH($$.parts, NAME_AT($word, @word)); }
  | path INDEX          { $$ = $1; $$.loc = @$; PUSH($$.parts, NAME_AT($INDEX, @INDEX)); }
  ;

// ---- words ----------------------------------------------------------------------------------

word
  : bind_word
  | "view"
  | "on"
  ;

// Names that may begin a statement: `on` would continue an optimizer, `view` begins a declaration.
bind_word
  : NAME
  | "data"
  | "epochs"
  | "report"
  | "output"
  | "load"
  | "from"
  | "pass"
  | "keep"
  | "evaluate"
  | "in"
  ;

// ---- expressions ----------------------------------------------------------------------------

exprs
  : expr                { $$ = (expr_list){0}; PUSH($$, $expr); }
  | exprs "," expr      { $$ = $1; PUSH($$, $expr); }
  ;

expr
  : post
  | "if" expr[a] "then" expr[b] "else" expr[c]  { $$ = parse_if(p, @$, $a, $b, $c); }
  | expr ".." expr      { $$ = parse_expr(p, E_RANGE, @$, $1, $3); }
  | expr "or" expr      { $$ = parse_operator(p, OP_OR, @$, @2, $1, $3); }
  | expr "and" expr     { $$ = parse_operator(p, OP_AND, @$, @2, $1, $3); }
  | "not" expr          { $$ = parse_operator(p, OP_NOT, @$, @1, $2, NULL); }
  | expr "<" expr       { $$ = parse_operator(p, OP_LT, @$, @2, $1, $3); }
  | expr "<=" expr      { $$ = parse_operator(p, OP_LE, @$, @2, $1, $3); }
  | expr ">" expr       { $$ = parse_operator(p, OP_GT, @$, @2, $1, $3); }
  | expr ">=" expr      { $$ = parse_operator(p, OP_GE, @$, @2, $1, $3); }
  | expr "==" expr      { $$ = parse_operator(p, OP_EQ, @$, @2, $1, $3); }
  | expr "!=" expr      { $$ = parse_operator(p, OP_NE, @$, @2, $1, $3); }
  | expr "+" expr       { $$ = parse_operator(p, OP_ADD, @$, @2, $1, $3); }
  | expr "-" expr       { $$ = parse_operator(p, OP_SUB, @$, @2, $1, $3); }
  | expr "*" expr       { $$ = parse_operator(p, OP_MUL, @$, @2, $1, $3); }
  | expr "/" expr       { $$ = parse_operator(p, OP_DIV, @$, @2, $1, $3); }
  | expr "//" expr      { $$ = parse_operator(p, OP_FLOORDIV, @$, @2, $1, $3); }
  | expr "%" expr       { $$ = parse_operator(p, OP_MOD, @$, @2, $1, $3); }
  | expr "@" expr       { $$ = parse_operator(p, OP_MATMUL, @$, @2, $1, $3); }
  | "-" expr %prec NEGATION  { $$ = parse_operator(p, OP_NEG, @$, @1, $2, NULL); }
  | expr "^" expr       { $$ = parse_operator(p, OP_POW, @$, @2, $1, $3); }
  ;

post
  : word                { $$ = parse_leaf(p, E_NAME, @$, $1); }
  | INTEGER             { $$ = parse_integer_leaf(p, @$, $1); }
  | NUMBER              { $$ = parse_float_leaf(p, @$, $1); }
  | STRING              { $$ = parse_leaf(p, E_STRING, @$, $1); }
  | "true"              { $$ = parse_leaf(p, E_BOOL, @$, NULL); $$->int_value = 1; }
  | "false"             { $$ = parse_leaf(p, E_BOOL, @$, NULL); }
  | "(" expr ")"        { $$ = $2; }
  | "[" items "]"       { $$ = parse_list(p, @$, $items); }
  | "[" "for" word "in" expr[range] ":" expr[each] "]"
    { $$ = parse_for_list(p, @$, $word, $range, $each); }
  | post args           { $$ = parse_call(p, @$, @2, $1, $args); }
  | post "[" items "]"  { $$ = parse_index(p, @$, $1, $items); }
  | post "." word       { $$ = parse_field(p, @$, $1, NAME_AT($word, @word)); }
  | post INDEX          { $$ = parse_field(p, @$, $1, NAME_AT($INDEX, @INDEX)); }
  | post "'"            { $$ = parse_expr(p, E_TRANSPOSE, @$, $1, NULL); }
  ;

args
  : "(" ")"                 { $$ = (arg_list){0}; }
  | "(" some_args ")"       { $$ = $2; }
  | "(" some_args "," ")"   { $$ = $2; }
  ;

some_args
  : arg                     { $$ = (arg_list){0}; PUSH($$, $arg); }
  | some_args "," arg       { $$ = $1; PUSH($$, $arg); }
  ;

arg
  : expr                    { $$ = (struct arg){@$, NULL, $expr}; }
  | word ":" expr           { $$ = (struct arg){@$, $word, $expr}; }
  ;

items
  : %empty                  { $$ = (expr_list){0}; }
  | some_items
  | some_items ","
  ;

some_items
  : item                    { $$ = (expr_list){0}; PUSH($$, $item); }
  | some_items "," item     { $$ = $1; PUSH($$, $item); }
  ;

item
  : expr
  | ".."                    { $$ = parse_expr(p, E_RANGE, @$, NULL, NULL); }
  | ".." expr               { $$ = parse_expr(p, E_RANGE, @$, NULL, $2); }
  | expr ".."               { $$ = parse_expr(p, E_RANGE, @$, $1, NULL); }
  | "_"                     { $$ = parse_leaf(p, E_WILDCARD, @$, NULL); }
  ;

%%

static const char *btg_token_text(int kind) { return yysymbol_name(YYTRANSLATE(kind)); }

static int yyreport_syntax_error(const yypcontext_t *context, struct parser *p) {
  yysymbol_kind_t kinds[YYNTOKENS];
  int n = yypcontext_expected_tokens(context, kinds, YYNTOKENS);
  bool fits[YYNTOKENS] = {false};
  for (int i = 0; i < n; i++) fits[kinds[i]] = true;
  struct token_set expected = {.end = fits[YYSYMBOL_YYEOF]};
  for (int i = 0; i < TOKEN_COUNT; i++) expected.has[i] = fits[YYTRANSLATE(TOKEN_FIRST + i)];
  parse_report(p, &expected, btg_token_text);
  return 0;
}

// Bison calls this only when its stack cannot grow.
static void btg_error(struct loc *loc, struct parser *p, const char *message) {
  (void)loc, (void)message;
  parse_report_overflow(p);
}
