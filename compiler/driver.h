// driver.h: what the subcommands do before and after the compiler proper: find btc's own files, read
// a model, put a result in its place, run the host C compiler.
#ifndef BTC_DRIVER_H
#define BTC_DRIVER_H

#include "graph.h"

#define BTC_VERSION "0.1.0"

// ---- btc's own files --------------------------------------------------------------------------
// Sets b->opt.home, the folder with stdlib/ and runtime/: $BTC_HOME, else share/btc of the installed
// command, else the source tree that btc was built in. False after a diagnostic.
bool driver_home(struct btc *b);
// libbtrt.a. NULL after a diagnostic.
const char *driver_runtime_library(struct btc *b);

// ---- reading ----------------------------------------------------------------------------------
struct file *driver_parse(struct btc *b, const char *path);   // NULL after diagnostics
struct model *driver_model(struct btc *b, const char *path);  // parsed and elaborated; NULL after diagnostics
struct model *driver_elaborate(struct btc *b, const struct file *f); // likewise
// The program called `name`, or the first where that is NULL. NULL after a diagnostic.
struct program *driver_program(struct model *m, const char *name);
// Leaves the model with the program p alone.
void driver_keep(struct model *m, struct program *p);

// ---- writing ----------------------------------------------------------------------------------
// A file that appears whole or not at all: written beside `path`, then renamed over it. What is not a
// regular file (/dev/stdout, a pipe) is written directly. Signals are held from its beginning until one of the other two.
struct output { const char *path, *temporary; };
bool output_begin(struct btc *b, struct output *o, const char *path); // false after a diagnostic
bool output_commit(struct btc *b, struct output *o);                  // likewise
void output_abandon(struct output *o);
// False after a diagnostic where `path` is the file `input` that the command reads.
bool output_spares(struct btc *b, const char *path, const char *input);

// A fresh one; NULL after a diagnostic. Signals are held until its end.
const char *temporary_folder(struct btc *b);
// Removes it and the plain files in it; or else says that a file in it is `kept`.
void temporary_folder_end(const char *folder, const char *kept);

// ---- the host C compiler (host.c) -------------------------------------------------------------
struct host {
  const char *command; // "gcc", may have arguments of its own
  const char *march;   // NULL: native
  bool verbose;        // print what is run
  bool silent;         // do not show what it says
  bool clang;          // by what --version says
};
// Fills in the command and its kind: `wanted`, else $CC, else the first of cc, gcc and clang. False after a
// diagnostic that says how to install one.
bool host_find(struct btc *b, struct host *host, const char *wanted);
const char *host_version(struct btc *b, const struct host *host); // its first line; NULL: does not run
// The Debian package with the OpenMP runtime of this compiler.
const char *host_openmp_package(struct btc *b, const struct host *host);
const char *host_flags(struct btc *b, const struct host *host);   // for compiling generated C
// Whether it compiles and links `c_file` with these flags; says nothing. `log` is a file for its messages.
bool host_links(struct btc *b, const struct host *host, const char *c_file, const char *out, const char *flags, const char *log);
// A C file of the user's (docs/variants.md).
struct host_source {
  const char *path, *object;
  struct loc loc;                    // what in the .btg file names it
  VEC(const char *) functions;       // that it must define
  VEC(const char *) headers;         // included before it
};
typedef VEC(struct host_source) host_source_list;
// Compiles it to its object; headers are also found by their names. What the compiler says is shown,
// as the user's to mend. False after a diagnostic.
bool host_compile_source(struct btc *b, const struct host *host, const struct host_source *s, bool shared);
// Compiles one generated file, in `parts` side by side where that is not 0 (codegen_parts), to an
// executable (linked with libbtrt.a) or a shared object, with the objects of `sources`. Shows the compiler's own messages where it fails, as a bug of btc unless a
// function of the sources is missing. False after a diagnostic.
bool host_compile(struct btc *b, const struct host *host, const char *c_file, int parts, const char *out, bool shared, const host_source_list *sources);

#endif
