// sched_conv_internal.h: what the schedules of convolutions share (sched_conv_parts.c).
#ifndef BTC_SCHED_CONV_INTERNAL_H
#define BTC_SCHED_CONV_INTERNAL_H

#include "sched_conv.h"
#include "sizes.h"

enum { OV = 2 }; // vectors of output channels in a register block, at most
// Backward weights takes all (channel, tap) pairs over strips of about this many pixels, which stay
// in the L1 cache: 2 vectors of dy and one of x each.
enum { STRIP_PIXELS = 256 };

// ---- even splits ------------------------------------------------------------------------------
// n = n_big * size + n_small * (size - 1), blocks as equal as can be: 32 = 11 + 11 + 10.
struct split {
  int64_t size, n_big, n_small;
};
struct split conv_split(int64_t n, int64_t limit);
// Opens the loop over the blocks of one part (0 big, 1 small) and gives its start and block size.
lx conv_split_loop(struct lb *b, const char *name, struct split s, int part, int64_t *size);
bool conv_split_has(struct split s, int part);

// ---- sources of activations -------------------------------------------------------------------
// A batch of images as the inner loops read it: the parameter itself, or the staged copy of the
// chunk of images at hand.
struct source {
  struct loop_buf *given, *staged;  // staged NULL: read in place
  int64_t channels, block;          // block: channels that lie together
  int64_t h, w;                     // of the given image
  int64_t before[2], rows, columns; // zero halo in front, and size with halo
};

struct source conv_source(struct lb *b, struct loop_buf *given, int64_t channels, int64_t block,
                          int64_t h, int64_t w, const int64_t lo[2], const int64_t hi[2],
                          int64_t images);
// Offset of (channel block, row, column, channel in block) in an image; row and column may be in
// the halo.
lx conv_source_at(const struct source *s, lx first, lx image, lx cb, lx row, lx column, lx lane);
struct loop_buf *conv_source_buf(const struct source *s);
// Once a thread, before its first image: the halo stays zero.
void conv_source_clear(struct lb *b, const struct source *s);
// Copies images first, first + 1, … (`images` of them) inside the halo.
void conv_source_stage(struct lb *b, const struct source *s, lx first, lx images);

// ---- axes -------------------------------------------------------------------------------------
// Outputs of one phase along an axis; see sched_conv.c.
struct axis {
  int64_t count, src_stride, taps, off, off_step, k, k_step, out_stride, out_phase;
};

struct axis conv_forward_axis(int64_t out, int64_t k, int64_t stride, int64_t pad, int64_t dil);
// One for each phase.
struct axis *conv_backward_axes(struct arena *arena, int64_t in, int64_t k, int64_t stride,
                                int64_t pad, int64_t dil);
// Widens [lo, hi] to all positions of the source that the axis reads.
void conv_axis_reach(struct axis a, int64_t *lo, int64_t *hi);

// ---- shapes -----------------------------------------------------------------------------------
// A 1x1 convolution of stride 1 without padding sees an image as one row.
struct conv_shape conv_flattened(const struct conv_shape *given);
void conv_check(const struct conv_shape *s, const struct target *t);
// Equation and cost, for the reader and for the roofline.
void conv_describe(struct lb *b, const char *equation, const struct conv_shape *s);

// Convolution groups that are taken together, so that a vector of output channels, and a channel
// block of the source, belong to one such bundle: a dense convolution of `src` to `out` channels,
// whose weights between channels of different groups are zero.
struct bundle {
  int64_t n;          // bundles
  int64_t groups;     // of each
  int64_t src, out;   // channels of each
  int64_t src_group, out_group; // channels of a group
};
struct bundle conv_bundle(int64_t groups, int64_t src, int64_t out, int64_t lanes, int64_t block);
// Vectors of output channels in a register block: they must be of one bundle.
int64_t conv_bundle_vectors(const struct bundle *u, int64_t lanes);
// The bundle of a vector of output channels.
lx conv_bundle_of(const struct bundle *u, lx vector, int64_t lanes);

// ---- depthwise (sched_depthwise.c) ------------------------------------------------------------
bool conv_is_depthwise(const struct conv_shape *s); // a group a channel, in and out
struct loop_kernel *sched_depthwise_forward(struct lb *b, const struct conv_shape *s);
struct loop_kernel *sched_depthwise_backward_data(struct lb *b, const struct conv_shape *s);
struct loop_kernel *sched_depthwise_backward_weights(struct lb *b, const struct conv_shape *s);

#endif
