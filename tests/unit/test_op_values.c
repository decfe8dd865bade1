// test_op_values.c: values one can check by hand: ties, kinks, edges, conventions.
//
// What ops.def promises in words stands here in numbers, compared exactly: which of two equal
// operands gets the cotangent, whether padding counts, which way integers round. Then
// differentiation itself (shared operands, dead ends, what it refuses) and the interpreter's f32
// rounding.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph_helper.h"
#include "op_helper.h"

#define inf ((double)INFINITY)
#define nan_ ((double)NAN)
#define V(...) \
  (const double[]) { __VA_ARGS__ }

struct value_case {
  enum op op;
  const char *operands, *result;
  struct attr attr;
  const double *in[OPERANDS_MAX], *out;
  const double *dy, *din[OPERANDS_MAX]; // gradients, where dy is given; NULL: not looked at
};

#define CASE(name, operand_types, result_type, ...) \
  { .op = OP_##name, .operands = operand_types, .result = result_type, __VA_ARGS__ }
#define IN(...) .in = {__VA_ARGS__}
#define DIN(...) .din = {__VA_ARGS__}
#define ATTR(...) .attr = {sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), {__VA_ARGS__}}

// clang-format off
static const struct value_case value_cases[] = {
    // kinks and ties
    CASE(relu, "f64[6]", "f64[6]", IN(V(-1, 0, -0.0, 2, -inf, inf)), .out = V(0, 0, 0, 2, 0, inf), .dy = V(1, 2, 3, 4, 5, 6), DIN(V(0, 0, 0, 4, 0, 6))),
    CASE(relu, "i32[3]", "i32[3]", IN(V(-1, 0, 2)), .out = V(0, 0, 2)),
    CASE(abs, "f64[3]", "f64[3]", IN(V(-2, 0, 3)), .out = V(2, 0, 3), .dy = V(5, 6, 7), DIN(V(-5, 0, 7))),
    CASE(max, "f64[3]  f64[3]", "f64[3]", IN(V(1, 2, 3), V(2, 2, 1)), .out = V(2, 2, 3), .dy = V(5, 7, 9), DIN(V(0, 7, 9), V(5, 0, 0))),
    CASE(min, "f64[3]  f64[3]", "f64[3]", IN(V(1, 2, 3), V(2, 2, 1)), .out = V(1, 2, 1), .dy = V(5, 7, 9), DIN(V(5, 7, 0), V(0, 0, 9))),
    CASE(reduce_max, "f64[2,4]", "f64[2]", ATTR(1), IN(V(1, 5, 5, 0, 3, 3, 3, -1)), .out = V(5, 3), .dy = V(6, 9), DIN(V(0, 3, 3, 0, 3, 3, 3, 0))),
    CASE(reduce_min, "f64[2,4]", "f64[4]", ATTR(0), IN(V(1, 5, 5, 0, 3, 5, 3, -1)), .out = V(1, 5, 3, -1), .dy = V(6, 8, 9, 7), DIN(V(6, 4, 0, 0, 0, 4, 9, 7))),
    CASE(reduce_max, "f64[2,2]", "f64", ATTR(0, 1), IN(V(-4, -4, -4, -4)), .out = V(-4), .dy = V(8), DIN(V(2, 2, 2, 2))),
    CASE(argmax, "f64[2,4]", "i32[2]", ATTR(1), IN(V(1, 3, 3, 2, -inf, -inf, -inf, -inf)), .out = V(1, 0)),
    CASE(argmax, "f64[3,2]", "i32[2]", ATTR(0), IN(V(1, 9, 3, 9, 3, 0)), .out = V(1, 0)),
    // indices from the end, outside, often
    CASE(gather, "f64[3] i32[6]", "f64[6]", ATTR(0), IN(V(10, 20, 30), V(2, 0, -1, -3, 3, -4)), .out = V(30, 10, 30, 10, nan_, nan_), .dy = V(1, 2, 3, 4, 5, 6), DIN(V(6, 0, 4))),
    CASE(gather, "f64[2,2] i64[2,1]", "f64[2,2,1]", ATTR(1), IN(V(1, 2, 3, 4), V(1, 2)), .out = V(2, nan_, 4, nan_), .dy = V(5, 6, 7, 8), DIN(V(0, 5, 0, 7))),
    CASE(gather, "f64[2,3] i32", "f64[3]", ATTR(0), IN(V(1, 2, 3, 4, 5, 6), V(-1)), .out = V(4, 5, 6), .dy = V(7, 8, 9), DIN(V(0, 0, 0, 7, 8, 9))),
    CASE(gather, "i32[2] i32[2]", "i32[2]", ATTR(0), IN(V(5, 6), V(1, 2)), .out = V(6, -0x1p31)),
    CASE(gather, "i64[2] i32[2]", "i64[2]", ATTR(0), IN(V(5, 6), V(1, -3)), .out = V(6, -0x1p63)),
    CASE(gather, "u8[2] i32[2]", "u8[2]", ATTR(0), IN(V(5, 6), V(1, 2)), .out = V(6, 0)),
    CASE(gather, "bool[2] i32[2]", "bool[2]", ATTR(0), IN(V(1, 1), V(1, 2)), .out = V(1, 0)),
    CASE(gather_dx, "f64[3,1] i32[3]", "f64[2,1]", ATTR(0), IN(V(1, 2, 4), V(1, 1, -1)), .out = V(0, 7)),
    CASE(max_pool2d, "f64[1,1,2,2]", "f64[1,1,2,2]", ATTR(2, 2, 2, 2, 1, 1), IN(V(-1, -2, -3, -4)), .out = V(-1, -2, -3, -4), .dy = V(1, 2, 3, 4), DIN(V(1, 2, 3, 4))),
    CASE(max_pool2d, "f64[1,1,2,4]", "f64[1,1,1,2]", ATTR(2, 2, 2, 2, 0, 0), IN(V(4, 4, 0, 7, 4, 1, 7, 0)), .out = V(4, 7), .dy = V(1, 2), DIN(V(1, 0, 0, 2, 0, 0, 0, 0))),
    CASE(max_pool2d_dx, "f64[1,1,1,3] f64[1,1,1,2]", "f64[1,1,1,3]", ATTR(1, 2, 1, 1, 0, 0), IN(V(1, 5, 1), V(3, 4)), .out = V(0, 7, 0)),
    CASE(max_pool2d_dx, "f64[1,1,1,3] f64[1,1,1,2]", "f64[1,1,1,3]", ATTR(1, 2, 1, 1, 0, 0), IN(V(5, 5, 5), V(3, 4)), .out = V(3, 4, 0)),
    CASE(avg_pool2d, "f64[1,1,2,2]", "f64[1,1,2,2]", ATTR(2, 2, 2, 2, 1, 1), IN(V(4, 8, 12, 16)), .out = V(1, 2, 3, 4), .dy = V(4, 8, 12, 16), DIN(V(1, 2, 3, 4))),
    CASE(avg_pool2d, "f64[1,1,1,5]", "f64[1,1,1,2]", ATTR(1, 2, 1, 2, 0, 0), IN(V(1, 3, 5, 7, 100)), .out = V(2, 6), .dy = V(2, 4), DIN(V(1, 1, 2, 2, 0))),
    // arithmetic
    CASE(mod, "f64[4]  f64[4]", "f64[4]", IN(V(7, -7, 7, -7), V(3, 3, -3, -3)), .out = V(1, 2, -2, -1)),
    CASE(mod, "f64[2]  f64[2]", "f64[2]", IN(V(5.5, -5.5), V(2, 2)), .out = V(1.5, 0.5)),
    // quotients that no double holds, infinities, by 0
    CASE(mod, "f64[3]  f64[3]", "f64[3]", IN(V(1e18, -1e18, 1e300), V(7, 7, 11)), .out = V(1, 6, 7)),
    CASE(mod, "f64[4]  f64[4]", "f64[4]", IN(V(1, -1, INFINITY, 1), V(INFINITY, INFINITY, 2, 0)), .out = V(1, INFINITY, NAN, NAN)),
    CASE(mod, "i32[4]  i32[4]", "i32[4]", IN(V(7, -7, 7, -7), V(3, 3, -3, -3)), .out = V(1, 2, -2, -1)),
    CASE(div, "i32[4]  i32[4]", "i32[4]", IN(V(7, -7, 7, -7), V(2, 2, -2, -2)), .out = V(3, -3, -3, 3)),
    CASE(div, "f64[3]  f64[3]", "f64[3]", IN(V(1, -1, 0), V(0, 0, 2)), .out = V(inf, -inf, 0)),
    CASE(floor, "f64[4]", "f64[4]", IN(V(-1.5, -1, 0.5, 2)), .out = V(-2, -1, 0, 2)),
    CASE(pow, "f64[6]  f64[6]", "f64[6]", IN(V(2, -2, -2, 0, 0, 4), V(3, 3, 2, 2, 0, 0.5)), .out = V(8, -8, 4, 0, 1, 2), .dy = V(1, 1, 1, 1, 1, 1), DIN(V(12, 12, -4, 0, 0, 0.25))),
    CASE(pow, "f64[3]  f64[3]", "f64[3]", IN(V(0, 1, 0), V(2, 3, 1)), .out = V(0, 1, 0), .dy = V(1, 1, 1), DIN(V(0, 3, 1), V(0, 0, 0))),
    CASE(sigmoid, "f64[3]", "f64[3]", IN(V(-1000, 0, 1000)), .out = V(0, 0.5, 1), .dy = V(1, 4, 1), DIN(V(0, 1, 0))),
    CASE(tanh, "f64[3]", "f64[3]", IN(V(-1000, 0, 1000)), .out = V(-1, 0, 1), .dy = V(1, 4, 1), DIN(V(0, 4, 0))),
    CASE(sqrt, "f64[2]", "f64[2]", IN(V(9, 0.25)), .out = V(3, 0.5), .dy = V(12, 1), DIN(V(2, 1))),
    CASE(rsqrt, "f64[2]", "f64[2]", IN(V(4, 0.25)), .out = V(0.5, 2), .dy = V(16, 1), DIN(V(-1, -4))),
    CASE(exp, "f64[2]", "f64[2]", IN(V(0, -inf)), .out = V(1, 0), .dy = V(3, 1), DIN(V(3, 0))),
    CASE(log, "f64[2]", "f64[2]", IN(V(1, 0)), .out = V(0, -inf), .dy = V(3, 1), DIN(V(3, inf))),
    // NaN is kept
    CASE(relu, "f64[1]", "f64[1]", IN(V(nan_)), .out = V(nan_)),
    CASE(max, "f64[3]  f64[3]", "f64[3]", IN(V(1, nan_, nan_), V(nan_, 1, nan_)), .out = V(nan_, nan_, nan_)),
    CASE(min, "f64[3]  f64[3]", "f64[3]", IN(V(1, nan_, nan_), V(nan_, 1, nan_)), .out = V(nan_, nan_, nan_)),
    CASE(max_pool2d, "f64[1,1,1,6]", "f64[1,1,1,2]", ATTR(1, 3, 1, 3, 0, 0), IN(V(1, nan_, 2, nan_, 3, 4)), .out = V(nan_, nan_), .dy = V(5, 6), DIN(V(0, 5, 0, 6, 0, 0))),
    CASE(reduce_max, "f64[3]", "f64", ATTR(0), IN(V(1, nan_, 2)), .out = V(nan_)),
    CASE(reduce_min, "f64[3]", "f64", ATTR(0), IN(V(1, nan_, 2)), .out = V(nan_)),
    // comparison, logic, choice
    CASE(lt, "f64[4]  f64[4]", "bool[4]", IN(V(1, 2, 3, nan_), V(2, 2, 2, 2)), .out = V(1, 0, 0, 0)),
    CASE(le, "f64[4]  f64[4]", "bool[4]", IN(V(1, 2, 3, nan_), V(2, 2, 2, 2)), .out = V(1, 1, 0, 0)),
    CASE(eq, "f64[4]  f64[4]", "bool[4]", IN(V(1, 2, -0.0, nan_), V(2, 2, 0, nan_)), .out = V(0, 1, 1, 0)),
    CASE(ne, "f64[4]  f64[4]", "bool[4]", IN(V(1, 2, -0.0, nan_), V(2, 2, 0, nan_)), .out = V(1, 0, 0, 1)),
    CASE(and, "bool[4] bool[4]", "bool[4]", IN(V(0, 0, 1, 1), V(0, 1, 0, 1)), .out = V(0, 0, 0, 1)),
    CASE(or, "bool[4] bool[4]", "bool[4]", IN(V(0, 0, 1, 1), V(0, 1, 0, 1)), .out = V(0, 1, 1, 1)),
    CASE(not, "bool[2]", "bool[2]", IN(V(0, 1)), .out = V(1, 0)),
    CASE(where, "bool[2] f64[2] f64[2]", "f64[2]", IN(V(1, 0), V(3, nan_), V(nan_, 4)), .out = V(3, 4), .dy = V(7, 8), DIN(NULL, V(7, 0), V(0, 8))),
    CASE(cast, "f64[3]", "i32[3]", IN(V(-1.7, 1.7, 2)), .out = V(-1, 1, 2)),
    CASE(cast, "f64[6]", "i32[6]", IN(V(NAN, INFINITY, -INFINITY, 3e9, -3e9, 2147483647.5)),
         .out = V(0, 2147483647, -2147483648.0, 2147483647, -2147483648.0, 2147483647)),
    CASE(cast, "f64[4]", "i64[4]", IN(V(NAN, INFINITY, -1e30, 9e18)), .out = V(0, 0x1p63, -0x1p63, 9e18)),
    CASE(cast, "f32[4]", "i64[4]", IN(V(NAN, INFINITY, -1e30, 5)), .out = V(0, 0x1p63, -0x1p63, 5)),
    CASE(cast, "f64[3]", "bool[3]", IN(V(0, 0.5, -1)), .out = V(0, 1, 1)),
    CASE(cast, "i32[3]", "f64[3]", IN(V(-1, 0, 5)), .out = V(-1, 0, 5)),
    // movement
    // integers stay values of their type
    CASE(sum, "u8[3]", "u8", ATTR(0), IN(V(200, 50, 7)), .out = V(1)),
    CASE(cast, "f64[3]", "u8[3]", IN(V(300.5, -1.5, 255)), .out = V(44, 255, 255)),
    CASE(constant, "", "i32", .attr = {.f = 4294967295.0}, .out = V(-1)),
    CASE(iota, "", "i32[2,3]", ATTR(1), .out = V(0, 1, 2, 0, 1, 2)),
    CASE(iota, "", "f64[2,3]", ATTR(0), .out = V(0, 0, 0, 1, 1, 1)),
    CASE(broadcast, "f64[2]", "f64[2,3]", ATTR(0), IN(V(1, 2)), .out = V(1, 1, 1, 2, 2, 2), .dy = V(1, 2, 3, 4, 5, 6), DIN(V(6, 15))),
    CASE(broadcast, "f64[2,3]", "f64[3,2]", ATTR(1, 0), IN(V(1, 2, 3, 4, 5, 6)), .out = V(1, 4, 2, 5, 3, 6), .dy = V(1, 2, 3, 4, 5, 6), DIN(V(1, 3, 5, 2, 4, 6))),
    CASE(reshape, "f64[2,3]", "f64[3,2]", IN(V(1, 2, 3, 4, 5, 6)), .out = V(1, 2, 3, 4, 5, 6), .dy = V(1, 2, 3, 4, 5, 6), DIN(V(1, 2, 3, 4, 5, 6))),
    CASE(transpose, "f64[2,3]", "f64[3,2]", ATTR(1, 0), IN(V(1, 2, 3, 4, 5, 6)), .out = V(1, 4, 2, 5, 3, 6), .dy = V(1, 2, 3, 4, 5, 6), DIN(V(1, 3, 5, 2, 4, 6))),
    CASE(transpose, "f64[1,2,3]", "f64[3,1,2]", ATTR(2, 0, 1), IN(V(1, 2, 3, 4, 5, 6)), .out = V(1, 4, 2, 5, 3, 6), .dy = V(1, 2, 3, 4, 5, 6), DIN(V(1, 3, 5, 2, 4, 6))),
    CASE(slice, "f64[2,3]", "f64[1,2]", ATTR(1, 1), IN(V(1, 2, 3, 4, 5, 6)), .out = V(5, 6), .dy = V(8, 9), DIN(V(0, 0, 0, 0, 8, 9))),
    CASE(pad, "f64[1,2]", "f64[2,4]", ATTR(1, 1), IN(V(5, 6)), .out = V(0, 0, 0, 0, 0, 5, 6, 0), .dy = V(1, 2, 3, 4, 5, 6, 7, 8), DIN(V(6, 7))),
    CASE(concat, "f64[2,1] f64[2,2]", "f64[2,3]", ATTR(1), IN(V(1, 4), V(2, 3, 5, 6)), .out = V(1, 2, 3, 4, 5, 6), .dy = V(1, 2, 3, 4, 5, 6), DIN(V(1, 4), V(2, 3, 5, 6))),
    CASE(diag, "f64[2,2,2]", "f64[2,2]", IN(V(1, 2, 3, 4, 5, 6, 7, 8)), .out = V(1, 4, 5, 8), .dy = V(1, 2, 3, 4), DIN(V(1, 0, 0, 2, 3, 0, 0, 4))),
    // reductions and contractions
    CASE(sum, "f64[2,3]", "f64[3]", ATTR(0), IN(V(1, 2, 3, 4, 5, 6)), .out = V(5, 7, 9), .dy = V(1, 2, 3), DIN(V(1, 2, 3, 1, 2, 3))),
    CASE(mean, "f64[2,4]", "f64[2]", ATTR(1), IN(V(1, 2, 3, 4, 5, 6, 7, 8)), .out = V(2.5, 6.5), .dy = V(4, 8), DIN(V(1, 1, 1, 1, 2, 2, 2, 2))),
    CASE(var, "f64[4]", "f64", ATTR(0), IN(V(1e8 + 1, 1e8 + 2, 1e8 + 3, 1e8 + 4)), .out = V(1.25), .dy = V(2), DIN(V(-1.5, -0.5, 0.5, 1.5))),
    CASE(matmul, "f64[2,3] f64[3,1]", "f64[2,1]", ATTR(0, 0), IN(V(1, 2, 3, 4, 5, 6), V(1, 10, 100)), .out = V(321, 654), .dy = V(1, 2), DIN(V(1, 10, 100, 2, 20, 200), V(9, 12, 15))),
    CASE(matmul, "f64[3,2] f64[1,3]", "f64[2,1]", ATTR(1, 1), IN(V(1, 2, 3, 4, 5, 6), V(1, 10, 100)), .out = V(531, 642), .dy = V(1, 2), DIN(V(1, 2, 10, 20, 100, 200), V(5, 11, 17))),
    CASE(matmul, "f64[2,1,2] f64[2,2,1]", "f64[2,1,1]", ATTR(0, 0), IN(V(1, 2, 3, 4), V(1, 10, 1, 10)), .out = V(21, 43)),
    // only one triangle is read; a matrix that is not positive definite spoils itself alone
    CASE(cholesky, "f64[2,2]", "f64[2,2]", IN(V(4, nan_, 2, 5)), .out = V(2, 0, 1, 2), .dy = V(0, 9, 0, 8), DIN(V(0.5, 0, -2, 2))),
    CASE(cholesky, "f64[4,2,2]", "f64[4,2,2]", IN(V(4, 9, 2, 5, 4, 9, 2, 1, 0, 9, 2, 5, 9, 9, 0, 16)), .out = V(2, 0, 1, 2, nan_, 0, nan_, nan_, nan_, 0, nan_, nan_, 3, 0, 0, 4)),
    CASE(cholesky, "f64[2,2]", "f64[2,2]", IN(V(nan_, 0, 0, 1)), .out = V(nan_, 0, nan_, nan_)),
    CASE(solve_triangular, "f64[2,2] f64[2,1]", "f64[2,1]", ATTR(0, 0, 0), IN(V(2, nan_, 3, 4), V(4, 14)), .out = V(2, 2), .dy = V(1, 8), DIN(V(5, 0, -4, -4), V(-2.5, 2))),
    CASE(solve_triangular, "f64[2,2] f64[2,1]", "f64[2,1]", ATTR(0, 1, 0), IN(V(2, nan_, 3, 4), V(10, 8)), .out = V(2, 2), .dy = V(2, 3), DIN(V(-2, 0, -2, 0), V(1, 0))),
    CASE(solve_triangular, "f64[2,2] f64[2,1]", "f64[2,1]", ATTR(1, 0, 0), IN(V(2, 3, nan_, 4), V(10, 8)), .out = V(2, 2), .dy = V(2, 3), DIN(V(-2, -2, 0, 0), V(1, 0))),
    CASE(solve_triangular, "f64[2,2] f64[2,1]", "f64[2,1]", ATTR(0, 0, 1), IN(V(nan_, nan_, 3, nan_), V(4, 14)), .out = V(4, 2), .dy = V(1, 8), DIN(V(0, 0, -32, 0), V(-23, 8))),
    CASE(solve_triangular, "f64[2,2] f64[2,1]", "f64[2,1]", ATTR(1, 1, 1), IN(V(nan_, 3, nan_, nan_), V(4, 14)), .out = V(4, 2), .dy = V(1, 8), DIN(V(0, -32, 0, 0), V(-23, 8))),
    CASE(conv2d, "f64[1,1,3,3] f64[1,1,2,2]", "f64[1,1,2,2]", ATTR(1, 1, 0, 0, 1, 1, 1), IN(V(1, 2, 3, 4, 5, 6, 7, 8, 9), V(1, 2, 3, 4)), .out = V(37, 47, 67, 77), .dy = V(1, 0, 0, 1), DIN(V(1, 2, 0, 3, 5, 2, 0, 3, 4), V(6, 8, 12, 14))),
    CASE(conv2d, "f64[1,2,1,1] f64[4,1,1,1]", "f64[1,4,1,1]", ATTR(1, 1, 0, 0, 1, 1, 2), IN(V(1, 10), V(1, 2, 3, 4)), .out = V(1, 2, 30, 40)),
    CASE(conv2d, "f64[1,1,1,5] f64[1,1,1,2]", "f64[1,1,1,2]", ATTR(1, 1, 0, 0, 1, 3, 1), IN(V(1, 2, 3, 4, 5), V(1, 10)), .out = V(41, 52)),
    CASE(conv2d, "f64[1,1,1,3] f64[1,1,1,2]", "f64[1,1,1,2]", ATTR(1, 2, 0, 1, 1, 1, 1), IN(V(1, 2, 3), V(1, 10)), .out = V(10, 32)),
    // the same down the other axis: what the adjoints share with conv2d only a value can catch
    CASE(conv2d, "f64[1,1,5,1] f64[1,1,2,1]", "f64[1,1,2,1]", ATTR(1, 1, 0, 0, 3, 1, 1), IN(V(1, 2, 3, 4, 5), V(1, 10)), .out = V(41, 52)),
    CASE(conv2d, "f64[1,1,3,1] f64[1,1,2,1]", "f64[1,1,2,1]", ATTR(2, 1, 1, 0, 1, 1, 1), IN(V(1, 2, 3), V(1, 10)), .out = V(10, 32)),
    CASE(conv2d, "f64[1,1,4,3] f64[1,1,2,2]", "f64[1,1,2,2]", ATTR(1, 2, 0, 1, 2, 1, 1), IN(V(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), V(1, 10, 100, 1000)), .out = V(7010, 9832, 10040, 13165)),
    CASE(max_pool2d, "f64[1,1,4,2]", "f64[1,1,2,2]", ATTR(2, 1, 2, 1, 0, 0), IN(V(1, 8, 2, 7, 6, 3, 5, 4)), .out = V(2, 8, 6, 4)),
    CASE(avg_pool2d, "f64[1,1,3,2]", "f64[1,1,2,2]", ATTR(2, 1, 2, 1, 1, 0), IN(V(1, 8, 2, 7, 6, 3)), .out = V(0.5, 4, 4, 5)),
};
// clang-format on
enum { VALUE_CASES = sizeof value_cases / sizeof value_cases[0] };

static void assert_exactly(const char *what, const struct tensor64 *t, const double *expected) {
  for (int64_t i = 0; i < shape_count(&t->type.shape); i++)
    if (t->data[i] != expected[i] && !(isnan(t->data[i]) && isnan(expected[i])))
      fail_msg("%s[%lld] is %g, not %g", what, (long long)i, t->data[i], expected[i]);
}

static const struct tensor64 *tensor_of(struct arena *a, const struct tensor_type *type,
                                        const double *data) {
  struct tensor64 *t = tensor64_new(a, type);
  memcpy(t->data, data, sizeof *data * (size_t)shape_count(&type->shape));
  return t;
}

static void has_values(void **state) {
  const struct value_case *c = *state;
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "test");
  struct tensor_type types[OPERANDS_MAX], result = type_of_text(c->result);
  struct leaf_values values = {b->arena, {0}};
  struct node *in[OPERANDS_MAX + 1], *gradient[OPERANDS_MAX] = {0};
  int n = types_of_text(c->operands, types, OPERANDS_MAX);
  for (int i = 0; i < n; i++) {
    in[i] = numbered_leaf(g, i, &types[i]);
    values.of[i] = tensor_of(b->arena, &types[i], c->in[i]);
  }
  struct node *y = graph_node(g, c->op, in, n, &c->attr, &result);
  if (c->dy) {
    in[n] = numbered_leaf(g, n, &y->type);
    values.of[n] = tensor_of(b->arena, &y->type, c->dy);
    graph_gradients(g, y, in[n], in, n, gradient);
  }
  struct tensor64 **v = evaluate(g, &values, false);
  assert_exactly("result", v[y->id], c->out);
  for (int i = 0; i < n; i++)
    if (c->din[i])
      assert_exactly(str_printf(b->arena, "gradient %d", i), v[gradient[i]->id], c->din[i]);
  btc_free(b);
}

// ---- differentiation --------------------------------------------------------------------------

struct bench {
  struct btc *b;
  struct graph *g;
  struct leaf_values values;
  struct node *x; // leaf 0
};

static struct bench bench_begin(const char *type, const double *data) {
  struct bench t = {.b = btc_new()};
  struct tensor_type x = type_of_text(type);
  t.g = graph_new(t.b, "test");
  t.x = numbered_leaf(t.g, 0, &x);
  t.values.arena = t.b->arena;
  t.values.of[0] = tensor_of(t.b->arena, &x, data);
  return t;
}

static struct node *sum_all(struct graph *g, struct node *x) {
  return g_reduce(g, OP_sum, x, (int[]){0, 1, 2, 3}, x->type.shape.rank);
}

static struct node *gradient_of(struct bench *t, struct node *y) {
  struct node *dx;
  graph_gradients(t->g, sum_all(t->g, y), NULL, &t->x, 1, &dx);
  return dx;
}

static void assert_node_is(struct bench *t, struct node *n, const double *expected) {
  assert_non_null(n);
  assert_exactly("value", evaluate(t->g, &t->values, false)[n->id], expected);
}

// x·x, max(x, x): every use adds its share.
static void sums_over_uses(void **state) {
  (void)state;
  struct bench t = bench_begin("f64[3]", V(1, -2, 3));
  assert_node_is(&t, gradient_of(&t, g_binary(t.g, OP_mul, t.x, t.x)), V(2, -4, 6));
  assert_node_is(&t, gradient_of(&t, g_binary(t.g, OP_max, t.x, t.x)), V(1, 1, 1));
  assert_node_is(&t, gradient_of(&t, g_binary(t.g, OP_sub, t.x, t.x)), V(0, 0, 0));
  struct node *square = g_binary(t.g, OP_mul, t.x, t.x);
  assert_node_is(&t,
                 gradient_of(&t, g_binary(t.g, OP_add, g_binary(t.g, OP_mul, square, t.x), square)),
                 V(5, 8, 33));
  btc_free(t.b);
}

static void differentiates_twice(void **state) {
  (void)state;
  struct bench t = bench_begin("f64[3]", V(1, -2, 3));
  struct node *cube = g_binary(t.g, OP_mul, g_binary(t.g, OP_mul, t.x, t.x), t.x);
  assert_node_is(&t, gradient_of(&t, gradient_of(&t, cube)), V(6, -12, 18));
  btc_free(t.b);
}

static void stops_gradients(void **state) {
  (void)state;
  struct bench t = bench_begin("f64[3]", V(1, -2, 3));
  struct node *stopped = g_unary(t.g, OP_stop_gradient, t.x);
  assert_node_is(&t, gradient_of(&t, g_binary(t.g, OP_mul, t.x, stopped)), V(1, -2, 3));
  assert_null(gradient_of(&t, g_binary(t.g, OP_mul, stopped, stopped)));
  assert_null(
      gradient_of(&t, g_cast(t.g, g_cast(t.g, t.x, BT_I32), BT_F64))); // nor through integers
  btc_free(t.b);
}

// A cotangent for a value between, for y itself, for what y does not depend on, for what came
// later.
static void finds_any_value(void **state) {
  (void)state;
  struct bench t = bench_begin("f64[3]", V(1, -2, 3));
  struct node *square = g_binary(t.g, OP_mul, t.x, t.x), *y = sum_all(t.g, g_scale(t.g, square, 3));
  struct node *other = numbered_leaf(t.g, 1, &t.x->type);
  struct node *wrt[] = {t.x, square, y, other}, *out[4];
  graph_gradients(t.g, y, NULL, wrt, 4, out);
  assert_node_is(&t, out[0], V(6, -12, 18));
  assert_node_is(&t, out[1], V(3, 3, 3));
  assert_node_is(&t, out[2], V(1));
  assert_null(out[3]);
  btc_free(t.b);
}

// What lies before wrt gets no cotangent, nor a node; so wrt may be made by an op without a rule.
static void ends_at_its_values(void **state) {
  (void)state;
  struct bench t = bench_begin("f64[1,1,2,2]", V(1, 2, 4, 3));
  struct attr pool = {.n = 6, .i = {2, 2, 2, 2, 0, 0}};
  struct node *y = graph_node(t.g, OP_max_pool2d, &t.x, 1, &pool, NULL), *dx, *d[2];
  struct node *minus = g_unary(t.g, OP_neg, t.x);
  graph_gradients(t.g, sum_all(t.g, y), NULL, &t.x, 1, &dx);
  struct node *wrt[] = {dx, minus}, *sum = g_binary(t.g, OP_add, dx, minus);
  graph_gradients(t.g, sum_all(t.g, g_binary(t.g, OP_mul, sum, sum)), NULL, wrt, 2, d);
  assert_int_equal(count_nodes(t.g, OP_neg, 0), 1);
  assert_node_is(&t, d[0], V(-2, -4, -6, -6));
  assert_node_is(&t, d[1], V(-2, -4, -6, -6));
  btc_free(t.b);
}

static void keeps_places(void **state) {
  (void)state;
  struct bench t = bench_begin("f64[3]", V(1, -2, 3));
  t.g->path = "encoder.conv1@a";
  t.g->loc = (struct loc){0, 7, 3, 7, 9};
  struct node *y = g_unary(t.g, OP_sin, t.x);
  t.g->path = "optimizer";
  struct node *dx = gradient_of(&t, y);
  assert_string_equal(dx->path, "encoder.conv1@a");
  assert_int_equal(dx->loc.line, 7);
  assert_string_equal(t.g->path, "optimizer");
  btc_free(t.b);
}

static void without_seed(void *user) {
  struct bench *t = user;
  struct node *dx;
  graph_gradients(t->g, g_unary(t->g, OP_sin, t->x), NULL, &t->x, 1, &dx);
}

static void of_first_order(void *user) {
  struct bench *t = user;
  struct attr pool = {.n = 6, .i = {2, 2, 2, 2, 0, 0}};
  struct node *y = graph_node(t->g, OP_max_pool2d, &t->x, 1, &pool, NULL);
  gradient_of(t, gradient_of(t, g_binary(t->g, OP_mul, y, y)));
}

static void refuses(void **state) {
  (void)state;
  struct bench t = bench_begin("f64[1,1,2,2]", V(1, 2, 3, 4));
  char *text = text_of_death(without_seed, &t);
  assert_non_null(strstr(text, "the gradient of f64[1, 1, 2, 2] needs a seed"));
  free(text);
  text = text_of_death(of_first_order, &t);
  assert_non_null(strstr(text, "max_pool2d_dx is not differentiable a second time"));
  free(text);
  btc_free(t.b);
}

// ---- cost -------------------------------------------------------------------------------------

struct cost_case {
  enum op op;
  const char *operands, *result;
  struct attr attr;
  double flops;
};
// clang-format off
#define COST(name, operand_types, result_type, count, ...) {.op = OP_##name, .operands = operand_types, .result = result_type, .flops = count, __VA_ARGS__}

// A multiplication and an addition are two; taps on padding count.
static const struct cost_case cost_cases[] = {
    COST(constant, "", "f64", 0, .attr = {.f = 1}),
    COST(matmul, "f64[5,3] f64[3,7]", "f64[5,7]", 2 * 5 * 3 * 7, ATTR(0, 0)),
    COST(matmul, "f64[2,3,5] f64[2,7,3]", "f64[2,5,7]", 2 * 2 * 5 * 3 * 7, ATTR(1, 1)),
    COST(cholesky, "f64[2,6,6]", "f64[2,6,6]", 2 * 6 * 6 * 6 / 3),
    COST(solve_triangular, "f64[2,5,5] f64[2,5,3]", "f64[2,5,3]", 2 * 5 * 5 * 3, ATTR(0, 0, 0)),
    COST(conv2d, "f64[2,3,5,7] f64[4,3,3,2]", "f64[2,4,5,6]", 2 * (2 * 4 * 5 * 6) * (3 * 3 * 2), ATTR(1, 1, 1, 0, 1, 1, 1)),
    COST(conv2d, "f64[2,6,5,7] f64[9,2,3,1]", "f64[2,9,5,7]", 2 * (2 * 9 * 5 * 7) * (2 * 3 * 1), ATTR(1, 1, 1, 0, 1, 1, 3)),
    COST(conv2d_dx, "f64[2,4,5,6] f64[4,3,3,2]", "f64[2,3,5,7]", 2 * (2 * 4 * 5 * 6) * (3 * 3 * 2), ATTR(1, 1, 1, 0, 1, 1, 1)),
    COST(conv2d_dw, "f64[2,3,5,7] f64[2,4,5,6]", "f64[4,3,3,2]", 2 * (2 * 4 * 5 * 6) * (3 * 3 * 2), ATTR(1, 1, 1, 0, 1, 1, 1)),
    COST(max_pool2d, "f64[2,3,7,5]", "f64[2,3,4,3]", 9 * (2 * 3 * 4 * 3), ATTR(3, 3, 2, 2, 1, 1)),
    COST(avg_pool2d, "f64[1,2,7,8]", "f64[1,2,5,3]", 6 * (2 * 5 * 3), ATTR(3, 2, 1, 3, 0, 0)),
    COST(max_pool2d_dx, "f64[2,3,7,5] f64[2,3,4,3]", "f64[2,3,7,5]", 9 * (2 * 3 * 4 * 3), ATTR(3, 3, 2, 2, 1, 1)),
    COST(avg_pool2d_dx, "f64[1,2,5,3]", "f64[1,2,7,8]", 6 * (2 * 5 * 3), ATTR(3, 2, 1, 3, 0, 0)),
    COST(gather_dx, "f64[7,3] i32[7]", "f64[5,3]", 7 * 3, ATTR(0)),
    COST(var, "f64[3,5,7]", "f64[5]", 3 * 3 * 5 * 7, ATTR(0, 2)),
};
// clang-format on

static void counts_operations(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof cost_cases / sizeof cost_cases[0]; i++) {
    const struct cost_case *c = &cost_cases[i];
    struct btc *b = btc_new();
    struct graph *g = graph_new(b, "test");
    struct tensor_type types[OPERANDS_MAX], result = type_of_text(c->result);
    struct node *in[OPERANDS_MAX];
    int n = types_of_text(c->operands, types, OPERANDS_MAX);
    for (int k = 0; k < n; k++) in[k] = numbered_leaf(g, k, &types[k]);
    struct node *node = graph_node(g, c->op, in, n, &c->attr, &result);
    double flops = op_info(c->op)->rules->flops(node);
    if (flops != c->flops)
      fail_msg("%s(%s): %g operations, not %g", op_info(c->op)->name, c->operands, flops, c->flops);
    btc_free(b);
  }
}

// ---- the interpreter's rounding ---------------------------------------------------------------

static void assert_rounded(struct bench *t, struct node *n, bool round, double expected) {
  assert_true(evaluate(t->g, &t->values, round)[n->id]->data[0] == expected);
}

static void rounds_f32(void **state) {
  (void)state;
  struct bench t = bench_begin("f32", V(0.1));
  struct node *large = g_binary(t.g, OP_add, t.x, g_constant(t.g, BT_F32, 16777216));
  struct node *third = g_constant(t.g, BT_F32, 1.0 / 3), *wide = g_cast(t.g, t.x, BT_F64);
  struct node *product = g_binary(t.g, OP_mul, wide, wide),
              *index = g_constant(t.g, BT_I64, 16777217);
  assert_rounded(&t, t.x, false, 0.1);
  assert_rounded(&t, t.x, true, 0.1f);         // leaves
  assert_true(t.values.of[0]->data[0] == 0.1); // the caller's value is left alone
  assert_rounded(&t, large, false, 16777216.1);
  assert_rounded(&t, large, true, 16777216);                      // results
  assert_rounded(&t, third, true, 1.0f / 3);                      // constants
  assert_rounded(&t, product, true, (double)0.1f * (double)0.1f); // but no f64
  assert_rounded(&t, index, true, 16777217);                      // and no integer
  btc_free(t.b);
}

// ---- the interpreter's integers ---------------------------------------------------------------

static void assert_whole(dtype t, enum op op, double x, double y, double expected) {
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "test");
  struct tensor_type type = {.dtype = t};
  struct node *in[] = {numbered_leaf(g, 0, &type), numbered_leaf(g, 1, &type)};
  struct node *n = op_info(op)->arity == 1 ? g_unary(g, op, in[0]) : g_binary(g, op, in[0], in[1]);
  struct leaf_values values = {b->arena, {tensor_of(b->arena, &type, &x), tensor_of(b->arena, &type, &y)}};
  assert_exactly(op_info(op)->name, evaluate(g, &values, false)[n->id], &expected);
  btc_free(b);
}

// Results stay values of their type: modulo 2^bits, as two's complement has it.
static void wraps_integers(void **state) {
  (void)state;
  assert_whole(BT_I32, OP_mul, 100000, 100000, 1410065408);
  assert_whole(BT_I32, OP_mul, 2147483647, 2147483647, 1); // 62 bits, more than a double has
  assert_whole(BT_I32, OP_add, 2147483647, 1, -2147483648.0);
  assert_whole(BT_I32, OP_sub, -2147483648.0, 1, 2147483647);
  assert_whole(BT_I32, OP_neg, -2147483648.0, 0, -2147483648.0);
  assert_whole(BT_I32, OP_abs, -2147483648.0, 0, -2147483648.0);
  assert_whole(BT_U8, OP_sub, 3, 5, 254);
  assert_whole(BT_U8, OP_mul, 16, 17, 16);
  assert_whole(BT_I64, OP_mul, 4294967296.0, 4294967296.0, 0);
  assert_whole(BT_I64, OP_add, -1, -4503599627370496.0, -4503599627370497.0);
}

int main(void) {
  const struct CMUnitTest fixed[] = {
      cmocka_unit_test(sums_over_uses),  cmocka_unit_test(differentiates_twice),
      cmocka_unit_test(stops_gradients), cmocka_unit_test(finds_any_value),
      cmocka_unit_test(ends_at_its_values), cmocka_unit_test(wraps_integers),
      cmocka_unit_test(counts_operations),
      cmocka_unit_test(keeps_places),    cmocka_unit_test(refuses),
      cmocka_unit_test(rounds_f32)};
  enum { FIXED = sizeof fixed / sizeof fixed[0] };
  struct CMUnitTest tests[FIXED + VALUE_CASES];
  struct arena *a = arena_new();
  size_t n = 0;
  for (; n < FIXED; n++) tests[n] = fixed[n];
  for (int i = 0; i < VALUE_CASES; i++) {
    const struct value_case *c = &value_cases[i];
    char *name = str_printf(a, "%s(%s) -> %s", op_info(c->op)->name, c->operands, c->result);
    tests[n++] = (struct CMUnitTest){name, has_values, NULL, NULL, (void *)(uintptr_t)c};
  }
  int failures = _cmocka_run_group_tests("op values", tests, n, NULL, NULL);
  arena_free(a);
  return failures;
}
