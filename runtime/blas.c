// blas.c: one thread count for everyone, and OpenBLAS on the core that the machine has.
//
// OpenBLAS picks its kernels by processor model. A release older than the processor does not know
// it and falls back, silently, to the oldest kernels it has (Prescott: SSE3), a fifth of the speed.
// So the runtime compares the core OpenBLAS chose with what the processor can do. Where a better
// one exists it sets OPENBLAS_CORETYPE and has OpenBLAS choose again, through its exported
// `gotoblas_dynamic_quit` and `gotoblas_dynamic_init`. All symbols are weak: another BLAS still
// links. A user's own OPENBLAS_CORETYPE is respected.
//
// OpenMP and BLAS share one pool (the OpenMP build of OpenBLAS), sized to the cores that this
// process may really use: its affinity mask, cut to the CPU quota of its control groups.
#define _GNU_SOURCE
#include "btrt_internal.h"

#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

extern char *openblas_get_corename(void) __attribute__((weak));
extern void openblas_set_num_threads(int) __attribute__((weak));
extern void gotoblas_dynamic_init(void) __attribute__((weak));
extern void gotoblas_dynamic_quit(void) __attribute__((weak));

// ---- cores ------------------------------------------------------------------------------------

static int affinity_cores(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return omp_get_num_procs();
}

// The two numbers of a control group's files: version 2 holds both in cpu.max ("max" is no limit),
// version 1 one a file (-1 is no limit). Returns quota / period in cores, rounded up; 0: no limit.
static int quota_cores(const char *folder, bool version2) {
  char path[4200];
  long quota = -1, period = 0;
  snprintf(path, sizeof path, "%s/%s", folder, version2 ? "cpu.max" : "cpu.cfs_quota_us");
  FILE *f = fopen(path, "r");
  if (!f) return 0;
  int got = fscanf(f, "%ld", &quota);
  if (got == 1 && version2) got = fscanf(f, "%ld", &period);
  fclose(f);
  if (got != 1) return 0;
  if (!version2) {
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    if (!(f = fopen(path, "r"))) return 0;
    if (fscanf(f, "%ld", &period) != 1) period = 0;
    fclose(f);
  }
  return quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

// The smallest limit from the process's own group up to the root, 0 for none.
static int tightest_quota(const char *root, char *group, bool version2) {
  int tightest = 0;
  for (;;) {
    char folder[4100];
    snprintf(folder, sizeof folder, "%s%s", root, group);
    int cores = quota_cores(folder, version2);
    if (cores && (!tightest || cores < tightest)) tightest = cores;
    char *slash = strrchr(group, '/');
    if (!slash) return tightest;
    *slash = 0;
  }
}

static bool names_cpu(const char *controllers) {
  for (const char *p = controllers; *p;) {
    size_t n = strcspn(p, ",");
    if (n == 3 && memcmp(p, "cpu", 3) == 0) return true;
    p += n + (p[n] == ',');
  }
  return false;
}

static int cgroup_cores(void) {
  FILE *f = fopen("/proc/self/cgroup", "r");
  char line[4096];
  int tightest = 0;
  while (f && fgets(line, sizeof line, f)) { // ID:controllers:/path
    line[strcspn(line, "\n")] = 0;
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group) continue;
    *controllers++ = 0, *group++ = 0;
    bool version2 = *controllers == 0;
    if (!version2 && !names_cpu(controllers)) continue;
    int cores = tightest_quota(version2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu", group, version2);
    if (cores && (!tightest || cores < tightest)) tightest = cores;
  }
  if (f) fclose(f);
  return tightest;
}

int bt_cores_available(void) {
  int cores = affinity_cores(), quota = cgroup_cores();
  if (quota && quota < cores) cores = quota;
  return cores < 1 ? 1 : cores;
}

// ---- OpenBLAS ---------------------------------------------------------------------------------

const char *bt_blas_core(void) {
  return openblas_get_corename ? openblas_get_corename() : "unknown BLAS";
}

const char *bt_blas_better_core(const char *current) {
#if defined __x86_64__
  // Cores whose kernels use at least AVX-512, and at least AVX2.
  static const char *const avx512[] = {"SkylakeX", "Cooperlake", "Sapphirerapids"};
  static const char *const avx2[] = {"Haswell", "Zen", "Excavator"};
  bool has512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  bool has2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  for (size_t i = 0; i < sizeof avx512 / sizeof *avx512; i++)
    if (strcasecmp(current, avx512[i]) == 0) return NULL;
  if (has512) return "SkylakeX";
  for (size_t i = 0; i < sizeof avx2 / sizeof *avx2; i++)
    if (strcasecmp(current, avx2[i]) == 0) return NULL;
  return has2 ? "Haswell" : NULL;
#else
  (void)current;
  return NULL;
#endif
}

static void repair_core(void) {
  if (!openblas_get_corename || !gotoblas_dynamic_init || !gotoblas_dynamic_quit) return;
  if (getenv("OPENBLAS_CORETYPE")) return;
  const char *better = bt_blas_better_core(openblas_get_corename());
  if (!better) return;
  setenv("OPENBLAS_CORETYPE", better, 1);
  gotoblas_dynamic_quit();
  gotoblas_dynamic_init();
}

int bt_blas_init(int threads) {
  if (threads <= 0) threads = bt_cores_available();
  repair_core();
  omp_set_dynamic(0);
  omp_set_num_threads(threads);
  if (openblas_set_num_threads) openblas_set_num_threads(threads);
  return threads;
}
