// random_check.h: graphs through every pass but one, the code generator and the host compiler, beside the interpreter.
#ifndef RANDOM_CHECK_H
#define RANDOM_CHECK_H

#include "graph.h"

enum { CHECK_BATCH = 5, CHECK_TEXT = 400 };

struct random_fault {
  int program, setting; // setting -1: the gradients
  int result;           // of outputs, then updates
  char text[CHECK_TEXT];
};
struct random_outcome {
  bool started, complete;
  int compiled, results, gradients; // programs, tensors, losses that were compared
  double worst;        // difference in units of what is allowed, and of which program
  int worst_program;
  int n_faults;        // one a program
  struct random_fault fault[CHECK_BATCH];
};

// What is varied: setting 0 runs all passes, each other one leaves out one of those of the table that may be.
int random_settings(void);
const char *random_setting_name(struct arena *a, int setting); // "all passes", "without fold"

// Makes `count` graphs by make(b, user, i), and checks them with settings first … end - 1; with `gradients`, those
// too. Ends the process where the compiler dies or memory is hurt.
struct random_job {
  struct graph *(*make)(struct btc *b, void *user, int i);
  void *user;
  int count, first, end;
  bool gradients;
  const char *march;
};
void random_check(const struct random_job *job, struct random_outcome *outcome);

// The same in a process of its own, silently: false where it dies or finds a fault.
bool random_passes(const struct random_job *job);
// Starts one whose outcome is one of random_outcomes; returns its process.
int random_start(const struct random_job *job, struct random_outcome *shared);
// In memory that processes share.
struct random_outcome *random_outcomes_new(int n);
void random_outcomes_free(struct random_outcome *o, int n);

// The smallest graph that it finds of g, by dropping results, looking at operands, and cutting operands off, whose
// check still fails as `fault` says.
struct graph *random_reduced(struct graph *g, const struct random_fault *fault, const char *march);

#endif
