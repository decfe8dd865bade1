// jit.c: see jit.h.
#include "jit.h"

#include "emit_c.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static void emit_door(FILE *out, const struct loop_kernel *k, int i) {
  fprintf(out,
          "void jit_%d(void *const *p, char *shared_work, char *thread_work) {\n"
          "  (void)p, (void)shared_work, (void)thread_work;\n  %s(",
          i, k->name);
  const char *comma = "";
  for (int a = 0; a < k->params.len; a++, comma = ", ") fprintf(out, "%sp[%d]", comma, a);
  if (loop_shared_bytes(k)) fprintf(out, "%sshared_work", comma), comma = ", ";
  if (loop_thread_bytes(k)) fprintf(out, "%sthread_work", comma);
  fprintf(out, ");\n}\n");
}

static bool compile(struct arena *arena, const char *dir, const struct target *t) {
  const char *cc = getenv("CC") ? getenv("CC") : "cc";
  const char *flags = getenv("JIT_FLAGS");
  return system(str_printf(arena,
                           "%s " EMIT_C_FLAGS EMIT_C_GCC_FLAGS EMIT_C_CLANG_FLAGS " -march=%s -fPIC -shared -Iruntime "
                           "-Wall -Wno-unused-function %s -o %s/k.so %s/k.c -lm",
                           cc, t->march, flags ? flags : "", dir, dir)) == 0;
}

bool jit_build(struct jit *j, struct arena *arena, struct loop_kernel *const *kernels, int n,
               const struct target *t) {
  char dir[] = "/tmp/btc-jit-XXXXXX";
  if (!mkdtemp(dir)) return false;
  const char *source = str_printf(arena, "%s/k.c", dir),
             *object = str_printf(arena, "%s/k.so", dir);
  FILE *out = fopen(source, "w");
  if (!out) return false;
  emit_c_prelude(out, t);
  for (int i = 0; i < n; i++) emit_c_kernel(out, kernels[i], t), emit_door(out, kernels[i], i);
  fclose(out);
  bool ok = compile(arena, dir, t);
  j->handle = ok ? dlopen(object, RTLD_NOW) : NULL;
  if (ok && !j->handle) fprintf(stderr, "%s\n", dlerror());
  j->kernels = NEW_ARRAY(arena, jit_kernel, n);
  for (int i = 0; j->handle && i < n; i++)
    j->kernels[i] = (jit_kernel)dlsym(j->handle, str_printf(arena, "jit_%d", i));
  if (getenv("JIT_KEEP"))
    fprintf(stderr, "kept %s\n", source);
  else {
    unlink(source);
    unlink(object);
    rmdir(dir);
  }
  return j->handle != NULL;
}

void jit_close(struct jit *j) {
  if (j->handle) dlclose(j->handle);
  j->handle = NULL;
}
