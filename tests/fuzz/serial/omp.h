// omp.h: OpenMP of one thread, for fuzzing: its pragmas are ignored there, and Debian's clang brings no header.
#ifndef SERIAL_OMP_H
#define SERIAL_OMP_H

#include <time.h>

static inline int omp_get_num_procs(void) { return 1; }
static inline int omp_get_max_threads(void) { return 1; }
static inline int omp_get_num_threads(void) { return 1; }
static inline int omp_get_thread_num(void) { return 0; }
static inline void omp_set_dynamic(int on) { (void)on; }
static inline void omp_set_num_threads(int n) { (void)n; }
static inline double omp_get_wtime(void) { return (double)clock() / CLOCKS_PER_SEC; }

#endif
