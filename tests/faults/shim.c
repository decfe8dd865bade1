// shim.c: makes system calls fail, in a process that is started with LD_PRELOAD. tests/faults.test.sh compiles it.
//
//   FAULT=write|fsync|close|rename|open|malloc|mmap|any  which calls are counted, from the beginning of main
//   FAULT_AT=N           the N-th of them fails (from 1); 0: none
//   FAULT_ERROR=ENOSPC   how; KILL: the process is killed instead, before the call is made
//   FAULT_MARK=FILE      is made when that happens
//   FAULT_COUNT=FILE     gets, at the end, the number of calls and the microseconds that main took
//   FAULT_AFTER=N        the process is killed N microseconds after the beginning of main
//
// Only calls that change files are counted: writes to regular files, opening for writing, and so on; `any` is all of
// these. A write that fails has written half.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const char *fault = "", *mark, *count_file;
static long fault_at;
static int fault_error = ENOSPC;
static bool kills, armed;
static atomic_long calls;

// The C library's own, without a word that might allocate.
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);

static void make(const char *path, const char *text) {
  int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  syscall(SYS_write, fd, text, strlen(text));
  syscall(SYS_close, fd);
}

// Is this call the one? Then errno says how it fails.
static bool fails(const char *name, bool is_file) {
  if (!armed || !(strcmp(fault, name) == 0 || (is_file && strcmp(fault, "any") == 0))) return false;
  if (atomic_fetch_add(&calls, 1) + 1 != fault_at) return false;
  if (mark) make(mark, "");
  if (kills) kill(getpid(), SIGKILL);
  errno = fault_error;
  return true;
}

// ---- files ------------------------------------------------------------------------------------

static bool is_regular(int fd) {
  struct stat st;
  return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

ssize_t write(int fd, const void *data, size_t n) {
  if (is_regular(fd) && fails("write", true)) {
    int error = errno;
    syscall(SYS_write, fd, data, n / 2);
    errno = error;
    return -1;
  }
  return syscall(SYS_write, fd, data, n);
}

int fsync(int fd) { return fails("fsync", true) ? -1 : (int)syscall(SYS_fsync, fd); }

int close(int fd) {
  bool counted = is_regular(fd) && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY;
  if (!counted || !fails("close", true)) return (int)syscall(SYS_close, fd);
  int error = errno;
  syscall(SYS_close, fd);
  errno = error;
  return -1;
}

int rename(const char *from, const char *to) { return fails("rename", true) ? -1 : (int)syscall(SYS_rename, from, to); }

static int open_at(const char *path, int flags, mode_t mode) {
  bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
  return writes && fails("open", true) ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...) {
  va_list ap;
  va_start(ap, flags);
  mode_t mode = (flags & O_CREAT) ? va_arg(ap, mode_t) : 0;
  va_end(ap);
  return open_at(path, flags, mode);
}

int mkdir(const char *path, mode_t mode) { return fails("open", true) ? -1 : (int)syscall(SYS_mkdir, path, mode); }
int mkstemp(char *template) { return fails("open", true) ? -1 : REAL(mkstemp)(template); }
FILE *fopen(const char *path, const char *mode) {
  return strpbrk(mode, "wa+") && fails("open", true) ? NULL : REAL(fopen)(path, mode);
}

// ---- memory -----------------------------------------------------------------------------------

void *malloc(size_t n) { return fails("malloc", false) ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return fails("malloc", false) ? NULL : __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return fails("malloc", false) ? NULL : __libc_realloc(p, n); }
void *aligned_alloc(size_t align, size_t n) { return fails("malloc", false) ? NULL : __libc_memalign(align, n); }
int posix_memalign(void **p, size_t align, size_t n) {
  *p = fails("malloc", false) ? NULL : __libc_memalign(align, n);
  return *p ? 0 : ENOMEM;
}

void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset) {
  if (fails("mmap", false)) return MAP_FAILED;
  return (void *)syscall(SYS_mmap, at, n, protection, flags, fd, offset);
}

// ---- main -------------------------------------------------------------------------------------

static int (*real_main)(int, char **, char **);

static long started;

static long microseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void tell_count(void) {
  char text[64];
  armed = false;
  snprintf(text, sizeof text, "%ld %ld\n", (long)calls, microseconds() - started);
  make(count_file, text);
}

static void be_killed(int number) { (void)number, kill(getpid(), SIGKILL); }

static void read_environment(void) {
  const char *at = getenv("FAULT_AT"), *error = getenv("FAULT_ERROR"), *after = getenv("FAULT_AFTER");
  static const struct { const char *name; int number; } errors[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO}, {"EROFS", EROFS}, {"EMFILE", EMFILE}, {"ENOMEM", ENOMEM}};
  if (getenv("FAULT")) fault = getenv("FAULT");
  mark = getenv("FAULT_MARK"), count_file = getenv("FAULT_COUNT");
  fault_at = at ? atol(at) : 0;
  kills = error && strcmp(error, "KILL") == 0;
  for (size_t i = 0; error && i < sizeof errors / sizeof *errors; i++)
    if (strcmp(errors[i].name, error) == 0) fault_error = errors[i].number;
  if (count_file) atexit(tell_count);
  started = microseconds();
  if (!after) return;
  signal(SIGALRM, be_killed);
  setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {atol(after) / 1000000, atol(after) % 1000000}}, NULL);
}

static int counted_main(int argc, char **argv, char **environment) {
  read_environment();
  armed = true;
  return real_main(argc, argv, environment);
}

int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end) {
  real_main = main;
  return REAL(__libc_start_main)(counted_main, argc, argv, init, fini, rtld_fini, stack_end);
}
