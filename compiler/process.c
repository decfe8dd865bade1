// process.c: see process.h.
//
// From when the first temporary file is made until the last is gone signals have no other effect than to end the
// children that run and to be remembered: no child is started any more, the command fails and removes its files on the
// way out. A second one, while no child runs, is of somebody who will not wait, and kills.
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "btc.h"

extern char **environ;

// ---- signals ----------------------------------------------------------------------------------

static const int held[] = {SIGINT, SIGTERM, SIGHUP};
enum { N_HELD = sizeof held / sizeof *held };

// A signal handler can reach nothing but globals.
static volatile sig_atomic_t children[PROCESS_MOST]; // their numbers; 0: free
static volatile sig_atomic_t received;               // 0: none
static struct sigaction before[N_HELD];              // what signals did before
static int holders;
static bool told;                                    // the user, of `received`

static int child_at(sig_atomic_t pid) {
  for (int i = 0; i < PROCESS_MOST; i++)
    if (children[i] == pid) return i;
  return -1;
}

static void receive(int number) {
  bool any = false;
  for (int i = 0; i < PROCESS_MOST; i++) {
    if (!children[i]) continue;
    kill((pid_t)children[i], number);
    any = true;
  }
  if (received && !any) {
    signal(number, SIG_DFL);
    raise(number);
  }
  received = number;
}

void process_hold_signals(void) {
  const struct sigaction now = {.sa_handler = receive};
  if (holders++ > 0) return;
  for (int i = 0; i < N_HELD; i++) {
    sigaction(held[i], NULL, &before[i]);
    if (before[i].sa_handler != SIG_IGN) sigaction(held[i], &now, NULL);
  }
}

void process_release_signals(void) {
  expect(holders > 0, "signals are released that nobody holds");
  if (--holders > 0) return;
  for (int i = 0; i < N_HELD; i++) sigaction(held[i], &before[i], NULL);
  if (received && !told) raise(received);
}

int process_signal(void) {
  told = received != 0;
  return received;
}

static void block_signals(sigset_t *old) {
  sigset_t blocked;
  sigemptyset(&blocked);
  for (int i = 0; i < N_HELD; i++) sigaddset(&blocked, held[i]);
  sigprocmask(SIG_BLOCK, &blocked, old);
}

// ---- children ---------------------------------------------------------------------------------

// posix_spawnp in such a way that no signal falls between the child's start and its being known. An error number.
static int spawn_known(char *const *words, const posix_spawn_file_actions_t *actions, pid_t *pid) {
  posix_spawnattr_t attributes;
  sigset_t old;
  block_signals(&old);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  posix_spawnattr_setsigmask(&attributes, &old);
  int failure = received ? EINTR : posix_spawnp(pid, words[0], actions, &attributes, words, environ);
  posix_spawnattr_destroy(&attributes);
  if (failure == 0) {
    int at = child_at(0);
    expect(at >= 0, "more than %d children", PROCESS_MOST);
    children[at] = (sig_atomic_t)*pid;
  }
  sigprocmask(SIG_SETMASK, &old, NULL);
  return failure;
}

bool process_start(char *const *words, const char *output, pid_t *pid) {
  posix_spawn_file_actions_t actions;
  expect(holders > 0, "a child without signals held");
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  int failure = spawn_known(words, &actions, pid);
  posix_spawn_file_actions_destroy(&actions);
  errno = failure;
  return failure == 0;
}

// Past two seconds a terminal is told why it waits, so that nobody thinks btc hangs.
static int poll_for(pid_t pid, const char *doing) {
  enum { POLL_MS = 20, PATIENCE = 2000 / POLL_MS };
  int status;
  for (int polls = 0;; polls++) {
    pid_t done = waitpid(pid, &status, WNOHANG);
    if (done < 0 && errno != EINTR) return -1;
    if (done == pid) {
      if (polls > PATIENCE && isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
      return status;
    }
    if (polls == PATIENCE && isatty(STDERR_FILENO)) fprintf(stderr, "btc: %s …", doing);
    nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000}, NULL);
  }
}

int process_wait(pid_t pid, const char *doing) {
  int status = poll_for(pid, doing);
  children[child_at((sig_atomic_t)pid)] = 0;
  return status;
}
