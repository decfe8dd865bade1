// test_op_rules.c: what shape rules say of a node that is wrong.
//
// A row is a node: op, operand types, attributes, the type it was given (NULL: none), its layout;
// and what the message must contain. An op whose rule can object and that has no row fails the
// test. A row that breaks a constraint which has a label (docs/ops.md) ends with it; tests/docs.test.sh
// wants one for each.
#include <math.h>
#include <string.h>

#include "op_helper.h"

struct bad_node {
  enum op op;
  const char *operands, *given, *expected;
  struct attr attr;
  int block;
};

#define BAD(name, operand_types, given_type, message, ...)                                \
  {                                                                                       \
    .op = OP_##name, .operands = operand_types, .given = given_type, .expected = message, \
    __VA_ARGS__                                                                           \
  }
#define ATTR(...) \
  .attr = {.n = sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), .i = {__VA_ARGS__}}
#define NAME(text) .attr = {.s = text}

// clang-format off
static const struct bad_node bad_nodes[] = {
    // any op: operands, sizes, layout
    BAD(neg, "f32 f32", NULL, "neg takes 1 operand, not 2"),
    BAD(add, "f32", NULL, "add takes 2 operands, not 1"),
    BAD(concat, "", NULL, "concat takes at least 1 operand, not 0", ATTR(0)),
    BAD(param, "", "f32[3,0]", "param has an axis of size 0", NAME("w")),
    BAD(neg, "f32[3,6]", NULL, "axis 1 of [3, 6] cannot be laid out in blocks of 4", .block = 4),
    BAD(neg, "f32[8]", NULL, "axis 1 of [8] cannot be laid out in blocks of 4", .block = 4),
    BAD(relayout, "f32[3,6]", NULL, "cannot be laid out in blocks of 16", .block = 16),
    // leaves
    BAD(input, "", NULL, "the type of input must be given", NAME("x")), // leaf_c1
    BAD(input, "", "f32[3]", "input needs a name"), // leaf_c2
    BAD(param, "", "f32[3]", "param needs a name"),
    BAD(param, "", NULL, "the type of param must be given", NAME("w")),
    BAD(state, "", "f32[3]", "state needs a name"),
    BAD(constant, "", NULL, "the type of constant must be given"),
    BAD(constant, "", "f32[3]", "a constant is a scalar; broadcast it"), // constant_c1
    BAD(constant, "", "i32", "1.5 is no i32", .attr = {.f = 1.5}), // constant_c2
    BAD(constant, "", "i64", "inf is no i64", .attr = {.f = INFINITY}),
    BAD(constant, "", "bool", "2 is no bool", .attr = {.f = 2}),
    BAD(iota, "", "bool[3]", "iota counts in numbers, not bool", ATTR(0)), // iota_c2
    BAD(iota, "", NULL, "the type of iota must be given", ATTR(0)),
    BAD(iota, "", "i32[3,5]", "iota counts along axis 2 of [3, 5]", ATTR(2)), // iota_c1
    BAD(iota, "", "i32[3,5]", "iota counts along axis -1 of [3, 5]", ATTR(-1)),
    BAD(iota, "", "i32", "iota counts along axis 0 of []", ATTR(0)),
    // elementwise
    BAD(add, "f32[3,5] f32[5,3]", NULL, "operands of add have different shapes: [3, 5] and [5, 3]"), // elementwise_c1
    BAD(sub, "f32[3] f32", NULL, "operands of sub have different shapes: [3] and []"),
    BAD(mul, "f32[3] f64[3]", NULL, "operands of mul have different element types: f32 and f64"),
    BAD(div, "bool[3] bool[3]", NULL, "div needs numbers, not bool"), // elementwise_c2
    BAD(mod, "i32[3] i64[3]", NULL, "operands of mod have different element types: i32 and i64"),
    BAD(pow, "f32[3] f32[4]", NULL, "operands of pow have different shapes: [3] and [4]"),
    BAD(min, "f32[3] f32[4]", NULL, "operands of min have different shapes"),
    BAD(max, "bool bool", NULL, "max needs numbers, not bool"),
    BAD(neg, "bool[3]", NULL, "neg needs numbers, not bool"),
    BAD(abs, "bool[3]", NULL, "abs needs numbers, not bool"),
    BAD(floor, "bool[3]", NULL, "floor needs numbers, not bool"),
    BAD(relu, "bool[3]", NULL, "relu needs numbers, not bool"),
    BAD(neg, "f32[3]", "f32[4]", "neg gives f32[3], not f32[4]"),
    BAD(neg, "f32[3]", "f64[3]", "neg gives f32[3], not f64[3]"),
    BAD(exp, "i32[3]", NULL, "exp needs a float operand, not i32"), // elementwise_c3
    BAD(log, "i64[3]", NULL, "log needs a float operand, not i64"),
    BAD(sqrt, "u8[3]", NULL, "sqrt needs a float operand, not u8"),
    BAD(rsqrt, "i32[3]", NULL, "rsqrt needs a float operand"),
    BAD(tanh, "bool[3]", NULL, "tanh needs a float operand, not bool"),
    BAD(sigmoid, "i32[3]", NULL, "sigmoid needs a float operand"),
    BAD(softplus, "i32[3]", NULL, "softplus needs a float operand"),
    BAD(erf, "i32[3]", NULL, "erf needs a float operand"),
    BAD(sin, "i32[3]", NULL, "sin needs a float operand"),
    BAD(cos, "i32[3]", NULL, "cos needs a float operand"),
    BAD(lt, "f32[3] f32[4]", NULL, "operands of lt have different shapes"),
    BAD(le, "f32[3] i32[3]", NULL, "operands of le have different element types: f32 and i32"),
    BAD(eq, "f32[3] f32[3]", "f32[3]", "eq gives bool[3], not f32[3]"), // elementwise_c4
    BAD(ne, "f32[3] f64[3]", NULL, "operands of ne have different element types"),
    BAD(and, "bool[3] f32[3]", NULL, "and needs bool operands, not f32"), // elementwise_c5
    BAD(or, "bool[3] bool[4]", NULL, "operands of or have different shapes: [3] and [4]"),
    BAD(not, "i32[3]", NULL, "not needs bool operands, not i32"),
    BAD(where, "f32[3] f32[3] f32[3]", NULL, "the condition of where is f32, not bool"), // where_c1
    BAD(where, "bool[3] f32[3] f64[3]", NULL, "the branches of where have different element types: f32 and f64"),
    BAD(where, "bool[3] f32[3] f32[4]", NULL, "operands of where have different shapes: [3] and [4]"),
    BAD(cast, "f32[3]", NULL, "the type of cast must be given"), // cast_c1
    BAD(cast, "f32[3]", "i32[4]", "cast gives i32[3], not i32[4]"),
    BAD(stop_gradient, "f32[3]", "f32[4]", "stop_gradient gives f32[3], not f32[4]"),
    // random numbers
    BAD(random_uniform, "i64[3] i64[3] i64[3]", NULL, "random_uniform counts elements in i32, not i64"), // random_c3
    BAD(random_uniform, "i32[3] i32[3] i64[3]", NULL, "takes its seed and stream as i64, not i32"), // random_c1
    BAD(random_uniform, "i32[3] i64 i64[3]", NULL, "operands of random_uniform have different shapes: [3] and []"),
    BAD(random_normal, "i32[3] i64[3] f32[3]", NULL, "takes its seed and stream as i64, not f32"),
    BAD(random_normal, "i32[3] i64[3] i64[3]", "f64[3]", "random_normal gives f32[3], not f64[3]"),
    BAD(random_beta, "i64 i32 f32[3] f32[3]", NULL, "takes its seed and stream as i64, not i32"),
    BAD(random_beta, "i64 i64[1] f32[3] f32[3]", NULL, "operand 1 of random_beta must have 0 axes, not [1]"), // random_c2
    BAD(random_beta, "i64 i64 f32[3] f64[3]", NULL, "random_beta is of f32, not f64"),
    BAD(random_beta, "i64 i64 f32[3] f32", NULL, "the shapes of random_beta are [3] and []"), // random_c4
    BAD(random_permutation, "i64[2] i64", "i32[3]", "operand 0 of random_permutation must have 0 axes, not [2]"),
    BAD(random_permutation, "i64 i64", NULL, "the type of random_permutation must be given"),
    BAD(random_permutation, "i64 i64", "i64[3]", "random_permutation gives i32[n], not i64[3]"), // random_c5
    BAD(random_permutation, "i64 i64", "i32[3,1]", "random_permutation gives i32[n], not i32[3, 1]"),
    // movement
    BAD(broadcast, "f32[3]", NULL, "the type of broadcast must be given", ATTR(0)),
    BAD(broadcast, "f32[3,5]", "f32[3,5]", "broadcast of [3, 5] names 1 axes", ATTR(0)), // broadcast_c1
    BAD(broadcast, "f32[3]", "f32[3,5]", "broadcast to [3, 5] names axis 2", ATTR(2)), // broadcast_c2
    BAD(broadcast, "f32[3,3]", "f32[3,3,3]", "broadcast to [3, 3, 3] names axis 1", ATTR(1, 1)),
    BAD(broadcast, "f32[3]", "f32[3,5]", "puts axis 0 of [3] on axis 1 of [3, 5]: sizes 3 and 5 differ", ATTR(1)), // broadcast_c3
    BAD(broadcast, "f32[3]", "f64[3,5]", "broadcast gives f32[3, 5], not f64[3, 5]", ATTR(0)),
    BAD(reshape, "f32[3,5]", NULL, "the type of reshape must be given"),
    BAD(reshape, "f32[3,5]", "f32[4,4]", "cannot reshape [3, 5], 15 elements, to [4, 4], 16 elements"), // reshape_c1
    BAD(reshape, "f32[3,5]", "f64[15]", "reshape gives f32[15], not f64[15]"),
    BAD(transpose, "f32[3,5]", NULL, "transpose of [3, 5] needs a permutation of its 2 axes", ATTR(0)), // transpose_c1
    BAD(transpose, "f32[3,5]", NULL, "needs a permutation", ATTR(1, 1)),
    BAD(transpose, "f32[3,5]", NULL, "needs a permutation", ATTR(0, 2)),
    BAD(transpose, "f32", NULL, "needs a permutation of its 0 axes", ATTR(0)),
    BAD(transpose, "f32[3,5]", "f32[3,5]", "transpose gives f32[5, 3], not f32[3, 5]", ATTR(1, 0)),
    BAD(slice, "f32[3,5]", NULL, "the type of slice must be given", ATTR(0, 0)),
    BAD(slice, "f32[3,5]", "f32[2]", "slice between [2] and [3, 5] with 2 starts", ATTR(0, 0)), // slice_c1
    BAD(slice, "f32[3,5]", "f32[3,5]", "with 1 starts", ATTR(0)),
    BAD(slice, "f32[3,5]", "f32[3,3]", "slice: 3 elements from 3 on do not fit on axis 1 of [3, 5]", ATTR(0, 3)), // slice_c2
    BAD(slice, "f32[3,5]", "f32[3,3]", "from -1 on do not fit on axis 0", ATTR(-1, 0)),
    BAD(pad, "f32[3,5]", NULL, "the type of pad must be given", ATTR(0, 0)),
    BAD(pad, "f32[3,5]", "f32[3,4]", "pad: 5 elements from 0 on do not fit on axis 1 of [3, 4]", ATTR(0, 0)), // pad_c2
    BAD(pad, "f32[3,5]", "f32[9]", "pad between [3, 5] and [9] with 2 starts", ATTR(0, 0)), // pad_c1
    BAD(concat, "f32[3] f64[3]", NULL, "operands of concat have different element types: f32 and f64", ATTR(0)), // concat_c1
    BAD(concat, "f32[3] f32[3]", NULL, "concat along axis 1 of [3]", ATTR(1)), // concat_c2
    BAD(concat, "f32 f32", NULL, "concat along axis 0 of []", ATTR(0)),
    BAD(concat, "f32[3,5] f32[3,4]", NULL, "concat along axis 0 of [3, 5] and [3, 4]", ATTR(0)), // concat_c3
    BAD(concat, "f32[3,5] f32[3]", NULL, "concat along axis 0 of [3, 5] and [3]", ATTR(0)),
    BAD(diag, "f32[3,5]", NULL, "diag needs square matrices, not [3, 5]"), // diag_c1
    BAD(diag, "f32[3]", NULL, "diag needs square matrices, not [3]"),
    BAD(relayout, "f32[3,5]", "f32[5,3]", "relayout gives f32[3, 5], not f32[5, 3]"),
    // reductions
    BAD(sum, "f32[3,5]", NULL, "sum over axis 2 of [3, 5]", ATTR(0, 2)), // reduce_c1
    BAD(sum, "f32[3,5]", NULL, "sum over axis -1 of [3, 5]", ATTR(-1)),
    BAD(sum, "f32[3,5]", NULL, "sum over axis 0 of [3, 5]", ATTR(1, 0)),
    BAD(sum, "f32[3,5]", NULL, "sum over axis 1 of [3, 5]", ATTR(1, 1)),
    BAD(sum, "bool[3]", NULL, "sum needs numbers, not bool", ATTR(0)), // reduce_c2
    BAD(sum, "f32[3,5]", "f32[3,1]", "sum gives f32[3], not f32[3, 1]", ATTR(1)),
    BAD(reduce_max, "bool[3]", NULL, "reduce_max needs numbers, not bool", ATTR(0)),
    BAD(reduce_min, "f32[3]", NULL, "reduce_min over axis 1 of [3]", ATTR(1)),
    BAD(mean, "i32[3]", NULL, "mean needs a float operand, not i32", ATTR(0)), // reduce_c3
    BAD(var, "u8[3]", NULL, "var needs a float operand, not u8", ATTR(0)),
    BAD(argmax, "f32[3,5]", NULL, "argmax is over one axis, not 2", ATTR(0, 1)), // argmax_c1
    BAD(argmax, "f32[3,5]", NULL, "argmax over axis 2 of [3, 5]", ATTR(2)),
    BAD(argmax, "f32[3,5]", "i64[3]", "argmax gives i32[3], not i64[3]", ATTR(1)),
    // picking
    BAD(gather, "f32[3,5] f32[2]", NULL, "gather by f32[2], which are no integers", ATTR(0)), // gather_c1
    BAD(gather, "f32[3,5] bool[2]", NULL, "gather by bool[2], which are no integers", ATTR(0)),
    BAD(gather, "f32[3,5] i32[2]", NULL, "gather along axis 2 of [3, 5]", ATTR(2)), // gather_c2
    BAD(gather, "f32[3,5] i32[2]", NULL, "gather along axis -1 of [3, 5]", ATTR(-1)),
    BAD(gather, "f32 i32[2]", NULL, "gather along axis 0 of []", ATTR(0)),
    BAD(gather, "f32[3,5] i32[2]", NULL, "gather along axis -1 of [3, 5]", ATTR(0, 1)),
    BAD(gather, "f32[3,5,1,1,1] i32[2,1,1]", NULL, "gather of [3, 5, 1, 1, 1] by indices [2, 1, 1] has 7 axes", ATTR(0)), // gather_c3
    BAD(gather, "f32[3,5] i32[2]", "f32[2,3]", "gather gives f32[2, 5], not f32[2, 3]", ATTR(0)),
    BAD(gather_dx, "f32[2,5] i32[2]", NULL, "the type of gather_dx must be given", ATTR(0)),
    BAD(gather_dx, "f32[2,5] i32[2]", "f32[3,4]", "gather_dx: the cotangent must be [2, 4], not [2, 5]", ATTR(0)), // gather_dx_c1
    BAD(gather_dx, "f32[2,5] i32[2]", "f64[3,5]", "gather_dx gives f32[3, 5], not f64[3, 5]", ATTR(0)),
    BAD(gather_dx, "i32[2,5] i32[2]", "i32[3,5]", "gather_dx needs a float operand, not i32", ATTR(0)),
    BAD(gather_dx, "f32[2,5] f32[2]", "f32[3,5]", "gather_dx by f32[2], which are no integers", ATTR(0)),
    // contractions
    BAD(matmul, "f32[3,5] f64[5,7]", NULL, "operands of matmul have different element types: f32 and f64", ATTR(0, 0)), // matmul_c1
    BAD(matmul, "i32[3,5] i32[5,7]", NULL, "matmul needs a float operand, not i32", ATTR(0, 0)),
    BAD(matmul, "f32[5] f32[5,7]", NULL, "matmul of [5] and [5, 7]", ATTR(0, 0)), // matmul_c2
    BAD(matmul, "f32[2,3,5] f32[5,7]", NULL, "matmul of [2, 3, 5] and [5, 7]", ATTR(0, 0)),
    BAD(matmul, "f32[2,3,5] f32[4,5,7]", NULL, "matmul: batch sizes differ: 2 and 4", ATTR(0, 0)), // matmul_c3
    BAD(matmul, "f32[3,5] f32[7,5]", NULL, "matmul: inner sizes differ: 5 and 7", ATTR(0, 0)), // matmul_c4
    BAD(matmul, "f32[3,5] f32[5,7]", NULL, "matmul: inner sizes differ: 3 and 5", ATTR(1, 0)),
    BAD(matmul, "f32[3,5] f32[5,7]", NULL, "matmul: inner sizes differ: 5 and 7", ATTR(0, 1)),
    BAD(matmul, "f32[3,5] f32[5,7]", "f32[7,3]", "matmul gives f32[3, 7], not f32[7, 3]", ATTR(0, 0)),
    BAD(matmul, "f32[3,5] f32[5,7]", NULL, "matmul needs transpose_a and transpose_b", ATTR(0)), // matmul_c5
    BAD(matmul, "f32[3,5] f32[5,7]", NULL, "matmul needs transpose_a and transpose_b", ATTR(0, 2)),
    BAD(cholesky, "i32[3,3]", NULL, "cholesky needs a float operand, not i32"), // cholesky_c1
    BAD(cholesky, "f32[3,5]", NULL, "cholesky needs square matrices, not [3, 5]"), // cholesky_c2
    BAD(cholesky, "f32[3]", NULL, "cholesky needs square matrices, not [3]"),
    BAD(cholesky, "f32[2,3,3]", "f32[3,3]", "cholesky gives f32[2, 3, 3], not f32[3, 3]"),
    BAD(solve_triangular, "f32[3,3] f64[3,5]", NULL, "operands of solve_triangular have different element types", ATTR(0, 0, 0)), // solve_triangular_c2
    BAD(solve_triangular, "i32[3,3] i32[3,5]", NULL, "solve_triangular needs a float operand, not i32", ATTR(0, 0, 0)),
    BAD(solve_triangular, "f32[3,5] f32[3,5]", NULL, "solve_triangular needs square matrices, not [3, 5]", ATTR(0, 0, 0)), // solve_triangular_c3
    BAD(solve_triangular, "f32[3,3] f32[5,3]", NULL, "solve_triangular of [3, 3] and [5, 3]", ATTR(0, 0, 0)), // solve_triangular_c4
    BAD(solve_triangular, "f32[3,3] f32[3]", NULL, "solve_triangular of [3, 3] and [3]", ATTR(0, 0, 0)),
    BAD(solve_triangular, "f32[2,3,3] f32[4,3,5]", NULL, "solve_triangular of [2, 3, 3] and [4, 3, 5]", ATTR(0, 0, 0)),
    BAD(solve_triangular, "f32[3,3] f32[3,5]", "f32[5,3]", "solve_triangular gives f32[3, 5], not f32[5, 3]", ATTR(0, 0, 0)),
    BAD(solve_triangular, "f32[3,3] f32[3,5]", NULL, "solve_triangular needs upper, transpose and unitriangular, each 0 or 1", ATTR(0, 0)), // solve_triangular_c1
    BAD(solve_triangular, "f32[3,3] f32[3,5]", NULL, "solve_triangular needs upper, transpose and unitriangular, each 0 or 1", ATTR(0, 2, 0)),
#define CONV(...) ATTR(__VA_ARGS__)
    BAD(conv2d, "f32[2,3,8,8] f32[4,3,3,3]", NULL, "conv2d needs stride, pad, dilation and groups", CONV(1, 1)),
    BAD(conv2d, "f32[2,3,8,8] f32[4,3,3,3]", NULL, "conv2d: stride 0", CONV(1, 0, 0, 0, 1, 1, 1)), // conv2d_c1
    BAD(conv2d, "f32[2,3,8,8] f32[4,3,3,3]", NULL, "conv2d: padding -1", CONV(1, 1, -1, 0, 1, 1, 1)),
    BAD(conv2d, "f32[2,3,8,8] f32[4,3,3,3]", NULL, "conv2d: dilation 0", CONV(1, 1, 0, 0, 0, 1, 1)),
    BAD(conv2d, "f32[2,3,8,8] f32[4,3,3,3]", NULL, "conv2d: 0 groups", CONV(1, 1, 0, 0, 1, 1, 0)),
    BAD(conv2d, "f32[2,3,8,8] f64[4,3,3,3]", NULL, "operands of conv2d have different element types", CONV(1, 1, 0, 0, 1, 1, 1)),
    BAD(conv2d, "i32[2,3,8,8] i32[4,3,3,3]", NULL, "conv2d needs a float operand, not i32", CONV(1, 1, 0, 0, 1, 1, 1)),
    BAD(conv2d, "f32[3,8,8] f32[4,3,3,3]", NULL, "operand 0 of conv2d must have 4 axes, not [3, 8, 8]", CONV(1, 1, 0, 0, 1, 1, 1)), // conv2d_c2
    BAD(conv2d, "f32[2,3,8,8] f32[4,27]", NULL, "operand 1 of conv2d must have 4 axes, not [4, 27]", CONV(1, 1, 0, 0, 1, 1, 1)),
    BAD(conv2d, "f32[2,3,8,8] f32[4,5,3,3]", NULL, "the input has 3 channels in 1 groups, the weight expects 5 a group", CONV(1, 1, 0, 0, 1, 1, 1)),
    BAD(conv2d, "f32[2,4,8,8] f32[6,2,3,3]", NULL, "conv2d: 3 groups do not divide both 4 input and 6 output channels", CONV(1, 1, 0, 0, 1, 1, 3)), // conv2d_c3
    BAD(conv2d, "f32[2,3,8,8] f32[4,3,9,3]", NULL, "a kernel that reaches over 9 does not fit 8 padded to 8", CONV(1, 1, 0, 0, 1, 1, 1)), // conv2d_c4
    BAD(conv2d, "f32[2,3,8,8] f32[4,3,3,3]", NULL, "a kernel that reaches over 11 does not fit 8 padded to 10", CONV(1, 1, 1, 1, 1, 5, 1)),
    BAD(conv2d, "f32[2,3,8,8] f32[4,3,3,3]", "f32[2,4,8,8]", "conv2d gives f32[2, 4, 6, 6], not f32[2, 4, 8, 8]", CONV(1, 1, 0, 0, 1, 1, 1)),
    BAD(conv2d_dx, "f32[2,4,6,6] f32[4,3,3,3]", NULL, "the type of conv2d_dx must be given", CONV(1, 1, 0, 0, 1, 1, 1)),
    BAD(conv2d_dx, "f32[2,4,6,6] f32[4,3,3,3]", "f32[2,3,9,8]", "conv2d_dx: the cotangent must be [2, 4, 7, 6], not [2, 4, 6, 6]", CONV(1, 1, 0, 0, 1, 1, 1)), // conv2d_dx_c1
    BAD(conv2d_dx, "f32[2,4,6,6] f32[4,3,3,3]", "f32[2,192]", "conv2d_dx gives 4 axes", CONV(1, 1, 0, 0, 1, 1, 1)),
    BAD(conv2d_dx, "f32[2,4,6,6] f32[4,3,3,3]", "f64[2,3,8,8]", "conv2d_dx gives f32[2, 3, 8, 8], not f64[2, 3, 8, 8]", CONV(1, 1, 0, 0, 1, 1, 1)),
    BAD(conv2d_dx, "f32[2,4,6,6] f32[4,3,3,3]", "f32[2,5,8,8]", "conv2d_dx: the input has 5 channels in 1 groups, the weight expects 3", CONV(1, 1, 0, 0, 1, 1, 1)),
    BAD(conv2d_dw, "f32[2,3,8,8] f32[2,4,6,6]", NULL, "the type of conv2d_dw must be given", CONV(1, 1, 0, 0, 1, 1, 1)),
    BAD(conv2d_dw, "f32[2,3,8,8] f32[2,4,6,6]", "f32[4,3,2,3]", "conv2d_dw: the cotangent must be [2, 4, 7, 6], not [2, 4, 6, 6]", CONV(1, 1, 0, 0, 1, 1, 1)), // conv2d_dw_c1
    BAD(conv2d_dw, "f32[2,3,8,8] f32[2,4,6,6]", "f32[4,3,3,3]", "conv2d_dw needs stride, pad, dilation and groups", CONV(1)),
    // windows
    BAD(max_pool2d, "f32[2,3,8,8]", NULL, "max_pool2d needs size, stride and pad", ATTR(2, 2)),
    BAD(max_pool2d, "f32[2,3,8,8]", NULL, "max_pool2d: size 2, stride 0", ATTR(2, 2, 0, 2, 0, 0)), // pool_c1
    BAD(max_pool2d, "f32[2,3,8,8]", NULL, "max_pool2d: size 0, stride 2", ATTR(2, 0, 2, 2, 0, 0)),
    BAD(max_pool2d, "f32[2,3,8,8]", NULL, "max_pool2d: padding 2 of windows of 2", ATTR(2, 2, 2, 2, 2, 0)), // pool_c2
    BAD(max_pool2d, "f32[2,3,8,8]", NULL, "max_pool2d: windows of 9 do not fit 8", ATTR(9, 2, 2, 2, 0, 0)), // pool_c3
    BAD(max_pool2d, "i32[2,3,8,8]", NULL, "max_pool2d needs a float operand, not i32", ATTR(2, 2, 2, 2, 0, 0)),
    BAD(max_pool2d, "f32[8,8]", NULL, "operand 0 of max_pool2d must have 4 axes, not [8, 8]", ATTR(2, 2, 2, 2, 0, 0)),
    BAD(avg_pool2d, "f32[2,3,8,8]", NULL, "avg_pool2d: padding -1 of windows of 2", ATTR(2, 2, 2, 2, 0, -1)),
    BAD(avg_pool2d, "f32[2,3,8,8]", "f32[2,3,8,8]", "avg_pool2d gives f32[2, 3, 4, 4], not f32[2, 3, 8, 8]", ATTR(2, 2, 2, 2, 0, 0)),
    BAD(max_pool2d_dx, "f32[2,3,8,8] f32[2,3,4,5]", NULL, "max_pool2d_dx: the cotangent must be [2, 3, 4, 4], not [2, 3, 4, 5]", ATTR(2, 2, 2, 2, 0, 0)), // pool_dx_c1
    BAD(max_pool2d_dx, "f32[2,3,8,8] f64[2,3,4,4]", NULL, "operands of max_pool2d_dx have different element types", ATTR(2, 2, 2, 2, 0, 0)),
    BAD(max_pool2d_dx, "f32[2,3,8,8] f32[2,48]", NULL, "operand 1 of max_pool2d_dx must have 4 axes, not [2, 48]", ATTR(2, 2, 2, 2, 0, 0)),
    BAD(avg_pool2d_dx, "f32[2,3,4,4]", NULL, "the type of avg_pool2d_dx must be given", ATTR(2, 2, 2, 2, 0, 0)),
    BAD(avg_pool2d_dx, "f32[2,3,4,4]", "f32[64]", "avg_pool2d_dx gives 4 axes", ATTR(2, 2, 2, 2, 0, 0)),
    BAD(avg_pool2d_dx, "f32[2,3,4,4]", "f32[2,3,8,7]", "avg_pool2d_dx: the cotangent must be [2, 3, 4, 3], not [2, 3, 4, 4]", ATTR(2, 2, 2, 2, 0, 0)),
    // code of the user's
    BAD(extern, "f32[2,3]", "f32", "extern needs the name of a C function", ATTR(0, 1)), // extern_c1
    BAD(extern, "f32[2,3]", "f32", "extern needs the name of a C function", .attr = {.n = 2, .i = {0, 1}, .s = "not-one"}),
    BAD(extern, "f32[2,3]", "f32", "extern f: result 2 of 2", .attr = {.n = 2, .i = {2, 2}, .s = "f"}), // extern_c2
    BAD(extern, "f32[2,3]", NULL, "the type of extern must be given", .attr = {.n = 2, .i = {0, 1}, .s = "f"}),
};
// clang-format on
enum { BAD_NODES = sizeof bad_nodes / sizeof bad_nodes[0] };

static void says_what_is_wrong(void **state) {
  enum op op = *(enum op *)*state;
  int n = 0;
  for (int i = 0; i < BAD_NODES; i++) {
    const struct bad_node *bad = &bad_nodes[i];
    if (bad->op != op) continue;
    struct btc *b = btc_new();
    struct graph *g = graph_new(b, "test");
    struct tensor_type types[OPERANDS_MAX];
    struct node *in[OPERANDS_MAX],
        node = {.op = op, .in = in, .attr = bad->attr, .block = bad->block, .type.shape.rank = -1};
    node.n_in = types_of_text(bad->operands, types, OPERANDS_MAX);
    for (int k = 0; k < node.n_in; k++) in[k] = numbered_leaf(g, k, &types[k]);
    if (bad->given) node.type = type_of_text(bad->given);
    const char *wrong = node_check(b->arena, &node);
    if (!wrong)
      fail_msg("nothing is said of %s(%s); expected: %s", op_info(op)->name, bad->operands,
               bad->expected);
    if (!strstr(wrong, bad->expected)) fail_msg("expected: %s\nsaid: %s", bad->expected, wrong);
    btc_free(b);
    n++;
  }
  if (!n) fail_msg("no bad node for %s", op_info(op)->name);
}

int main(void) {
  static enum op ops[OP_COUNT];
  struct CMUnitTest tests[OP_COUNT];
  for (int i = 0; i < OP_COUNT; i++) {
    ops[i] = (enum op)i;
    tests[i] = (struct CMUnitTest){op_info(ops[i])->name, says_what_is_wrong, NULL, NULL, &ops[i]};
  }
  return _cmocka_run_group_tests("op rules", tests, OP_COUNT, NULL, NULL);
}
