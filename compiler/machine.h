// machine.h: what this machine can do at most, measured, and its name: what timings are held against,
// and what they are stored under.
#ifndef BTC_MACHINE_H
#define BTC_MACHINE_H

struct machine {
  int threads;
  double flops;     // f32 multiply-adds of vectors in registers, two operations each; a second
  double bandwidth; // bytes a second between memory and the cores
};

// Takes a second or less. Threads and BLAS must have been set up for `threads` (bt_blas_init).
struct machine machine_measure(int threads);

// The processor's name, as it calls itself; "unknown processor" where it does not.
// At most `size` bytes with the end; text has no control characters.
void machine_processor(char *text, int size);

#endif
