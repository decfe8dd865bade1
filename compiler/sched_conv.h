// sched_conv.h: direct convolution as loop kernels.
#ifndef BTC_SCHED_CONV_H
#define BTC_SCHED_CONV_H

#include "loops.h"

// y[n][o][r][c] = sum over i, p, q of w[o][i][p][q] *
// x[n][g*ic/groups+i][r*stride+p*dil-pad][c*stride+q*dil-pad], o of group g. w: OIHW. Activations: NCHW, or in blocks
// of one vector of channels, [n][C/lanes][h][w][lanes], where C is a multiple of the target's
// lanes. `in_blocked` is the layout of x and dx, `out_blocked` that of y and dy. Index 0 of stride,
// pad and dil is for rows, 1 for columns.
struct conv_shape {
  int64_t n, ic, ih, iw, oc, oh, ow, kh, kw;
  int64_t stride[2], pad[2], dil[2];
  bool in_blocked, out_blocked;
  int64_t groups; // of channels, at least 1
};

// Parameters of the kernels, in call order: (x, w, y), (dy, w, dx), (x, dy, dw); all f32.
// Results are overwritten, and their bits do not depend on the number of threads.
struct loop_kernel *sched_conv_forward(struct arena *arena, const struct target *t,
                                       const char *name, const struct conv_shape *s);
struct loop_kernel *sched_conv_backward_data(struct arena *arena, const struct target *t,
                                             const char *name, const struct conv_shape *s);
struct loop_kernel *sched_conv_backward_weights(struct arena *arena, const struct target *t,
                                                const char *name, const struct conv_shape *s);

#endif
