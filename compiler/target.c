// target.c: from a -march name to vector width and cache sizes.
#include "target.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Prefixes of -march names, the widest first where one is a prefix of another.
static const struct {
  const char *prefix;
  int lanes;
} table[] = {
    {"x86-64-v4", 16},     {"x86-64-v3", 8},   {"skylake-avx512", 16}, {"skylake", 8},
    {"cascadelake", 16},   {"cooperlake", 16}, {"cannonlake", 16},     {"icelake", 16},
    {"tigerlake", 16},     {"rocketlake", 16}, {"sapphirerapids", 16}, {"emeraldrapids", 16},
    {"graniterapids", 16}, {"knl", 16},        {"haswell", 8},         {"broadwell", 8},
    {"alderlake", 8},      {"raptorlake", 8},  {"meteorlake", 8},      {"znver4", 16},
    {"znver5", 16},        {"znver", 8},       {"core-avx2", 8},
};

static int native_lanes(void) {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    return 16;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 8;
  return 4;
}

static int lanes_of(const char *march) {
  if (strcmp(march, "native") == 0) return native_lanes();
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (strncmp(march, table[i].prefix, strlen(table[i].prefix)) == 0) return table[i].lanes;
  return 4;
}

static size_t cache_bytes(int name, size_t otherwise) {
  long n = sysconf(name);
  return n > 0 ? (size_t)n : otherwise;
}

void target_from_march(struct target *t, const char *march) {
  if (!march) march = "native";
  bool native = strcmp(march, "native") == 0;
  t->march = march;
  t->lanes = lanes_of(march);
  t->registers = t->lanes == 16 ? 32 : 16;
  t->fma = t->lanes > 4;
  t->l1_bytes = native ? cache_bytes(_SC_LEVEL1_DCACHE_SIZE, 32 << 10) : 32 << 10;
  t->l2_bytes = native ? cache_bytes(_SC_LEVEL2_CACHE_SIZE, 1 << 20) : 1 << 20;
}

int target_block_rows(const struct target *t) { return t->registers >= 32 ? 14 : 6; }
