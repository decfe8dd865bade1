// lbfgs.c: limited-memory BFGS with a line search that meets the strong Wolfe conditions.
#include "lbfgs.h"

#include <math.h>
#include <string.h>

#define SUFFICIENT 1e-4 // c1: the decrease that a step must bring
#define CURVATURE 0.9   // c2: how much the slope must flatten
#define MAX_TRIALS 25

struct solver {
  bt_objective *objective;
  void *context;
  int n;
  double *x, *g;           // where we are
  double *trial, *trial_g; // where the line search looks
  double *direction;
  double value, trial_value;
  int memory, stored, newest; // ring of pairs
  double *s, *y, *rho, *alpha;
};

static double dot(int n, const double *a, const double *b) {
  double sum = 0;
  for (int i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

static double largest(int n, const double *a) {
  double most = 0;
  for (int i = 0; i < n; i++) most = fmax(most, fabs(a[i]));
  return most;
}

static void add(int n, double *to, double factor, const double *from) {
  for (int i = 0; i < n; i++) to[i] += factor * from[i];
}

// direction = −H g by the two-loop recursion.
static void choose_direction(struct solver *v) {
  int n = v->n;
  for (int i = 0; i < n; i++) v->direction[i] = -v->g[i];
  for (int k = 0; k < v->stored; k++) {
    int j = (v->newest - k + v->memory) % v->memory;
    v->alpha[j] = v->rho[j] * dot(n, v->s + (ptrdiff_t)j * n, v->direction);
    add(n, v->direction, -v->alpha[j], v->y + (ptrdiff_t)j * n);
  }
  if (v->stored) {
    const double *y = v->y + (ptrdiff_t)v->newest * n;
    double scale = 1 / (v->rho[v->newest] * dot(n, y, y));
    for (int i = 0; i < n; i++) v->direction[i] *= scale;
  }
  for (int k = v->stored - 1; k >= 0; k--) {
    int j = (v->newest - k + v->memory) % v->memory;
    double beta = v->rho[j] * dot(n, v->y + (ptrdiff_t)j * n, v->direction);
    add(n, v->direction, v->alpha[j] - beta, v->s + (ptrdiff_t)j * n);
  }
}

// Evaluates x + step × direction; returns the slope along the direction.
static double look(struct solver *v, double step) {
  for (int i = 0; i < v->n; i++) v->trial[i] = v->x[i] + step * v->direction[i];
  v->trial_value = v->objective(v->context, v->trial, v->trial_g);
  return dot(v->n, v->trial_g, v->direction);
}

// Minimiser of the cubic through values and slopes at a and b, kept off both ends (Nocedal and
// Wright, 3.59).
static double cubic_step(double a, double fa, double ga, double b, double fb, double gb) {
  double d1 = ga + gb - 3 * (fa - fb) / (a - b), square = d1 * d1 - ga * gb;
  double lo = fmin(a, b), hi = fmax(a, b), margin = 0.1 * (hi - lo);
  double middle = (lo + hi) / 2;
  if (!(square >= 0)) return middle;
  double d2 = (b > a ? 1 : -1) * sqrt(square);
  double step = b - (b - a) * (gb + d2 - d1) / (gb - ga + 2 * d2);
  return isfinite(step) ? fmin(fmax(step, lo + margin), hi - margin) : middle;
}

// Finds a step in the direction; leaves the point in trial. False: no progress is possible.
static bool line_search(struct solver *v, double step) {
  double slope0 = dot(v->n, v->g, v->direction), value0 = v->value;
  double lo = 0, value_lo = value0, slope_lo = slope0; // best end
  double hi = 0, value_hi = 0, slope_hi = 0;           // other end, once bracketed
  bool bracketed = false;
  if (!(slope0 < 0)) return false;
  for (int trial = 0; trial < MAX_TRIALS; trial++) {
    double slope = look(v, step), value = v->trial_value;
    bool high =
        !isfinite(value) || value > value0 + SUFFICIENT * step * slope0 || value >= value_lo;
    if (!high && fabs(slope) <= -CURVATURE * slope0) return true;
    if (high) {
      hi = step, value_hi = value, slope_hi = slope, bracketed = true;
    } else {
      if (bracketed ? slope * (hi - lo) >= 0 : slope >= 0)
        hi = lo, value_hi = value_lo, slope_hi = slope_lo, bracketed = true;
      lo = step, value_lo = value, slope_lo = slope;
    }
    if (!bracketed)
      step *= 2;
    else if (!isfinite(value_hi))
      step = (lo + hi) / 2;
    else
      step = cubic_step(lo, value_lo, slope_lo, hi, value_hi, slope_hi);
  }
  if (lo == 0) return false;
  look(v, lo); // sufficient decrease at least
  return true;
}

// Remembers the step just found and moves there.
static void accept(struct solver *v) {
  int n = v->n, j = v->stored ? (v->newest + 1) % v->memory : 0;
  double *s = v->s + (ptrdiff_t)j * n, *y = v->y + (ptrdiff_t)j * n;
  double curvature = 0, square = 0;
  for (int i = 0; i < n; i++) {
    double change = v->trial_g[i] - v->g[i];
    curvature += (v->trial[i] - v->x[i]) * change, square += change * change;
  }
  if (curvature > 1e-14 * square) { // else the oldest pair keeps its place
    for (int i = 0; i < n; i++) s[i] = v->trial[i] - v->x[i], y[i] = v->trial_g[i] - v->g[i];
    v->rho[j] = 1 / curvature;
    v->newest = j;
    if (v->stored < v->memory) v->stored++;
  }
  memcpy(v->x, v->trial, sizeof *v->x * (size_t)n);
  memcpy(v->g, v->trial_g, sizeof *v->g * (size_t)n);
  v->value = v->trial_value;
}

static size_t room_count(size_t n, size_t m) { return 4 * n + 2 * m * n + 2 * m; }

size_t bt_lbfgs_bytes(int n, int memory) {
  return room_count((size_t)n, (size_t)memory) * sizeof(double);
}

int bt_lbfgs(bt_objective *objective, void *context, int n, double *x,
             const struct bt_lbfgs_options *options, void *room) {
  size_t m = (size_t)options->memory, size = (size_t)n;
  struct solver v = {
      .objective = objective, .context = context, .n = n, .x = x, .memory = options->memory};
  v.g = (double *)room, v.trial = v.g + size, v.trial_g = v.trial + size, v.direction = v.trial_g + size;
  v.s = v.direction + size, v.y = v.s + m * size, v.rho = v.y + m * size, v.alpha = v.rho + m;
  v.value = objective(context, x, v.g);
  int iteration = 0;
  for (; iteration < options->max_iterations; iteration++) {
    if (largest(n, v.g) <= options->tolerance) break;
    if (!bt_goes_on(&options->watch, iteration, options->max_iterations)) break;
    choose_direction(&v);
    double first = v.stored ? 1 : 1 / fmax(1, sqrt(dot(n, v.g, v.g)));
    if (line_search(&v, first))
      accept(&v);
    else if (v.stored)
      v.stored = 0; // the model misleads (rounding): start again from the gradient
    else
      break;
  }
  return iteration;
}
