// process.h: child processes, and signals while temporary files wait to be removed.
#ifndef BTC_PROCESS_H
#define BTC_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

enum { PROCESS_MOST = 256 }; // children at a time

// Between the two a signal that would end btc is passed on to its children and remembered, so that btc lives to
// remove its files; no child is started any more. They nest. At the last release a signal that nobody has been told of
// has its effect.
void process_hold_signals(void);
void process_release_signals(void);
// The one that came; 0: none. Who asks tells the user.
int process_signal(void);

// Starts words[0] (found by PATH) with the words, NULL at the end; what it says goes to the file `output`. False, with
// errno, where that fails. Signals are held.
bool process_start(char *const *words, const char *output, pid_t *pid);
// Its wait status. `doing` tells a terminal why it waits.
int process_wait(pid_t pid, const char *doing);

#endif
