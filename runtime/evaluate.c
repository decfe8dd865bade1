// evaluate.c: weighted nearest neighbours and the linear probe. See evaluate.h.
//
// Both are a few large matrix products over blocks of rows that stay in cache, with the small work
// (the best k, the softmax) done by row in parallel.
#include "evaluate.h"
#include "btrt_internal.h"
#include "lbfgs.h"

#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

// ---- nearest neighbours -----------------------------------------------------------------------

#define QUERY_BLOCK 256
#define BANK_BLOCK 4096

struct neighbour {
  float similarity;
  int32_t label;
};

// Rows divided by their Euclidean norm; free() it.
static float *unit_rows(const struct bt_features *f) {
  float *out = bt_xcalloc((size_t)f->n * (size_t)f->d, sizeof *out);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < f->n; i++) {
    double sum = 0;
    for (int64_t j = 0; j < f->d; j++)
      sum += (double)f->features[i * f->d + j] * f->features[i * f->d + j];
    float scale = sum > 0 ? (float)(1 / sqrt(sum)) : 0;
    for (int64_t j = 0; j < f->d; j++) out[i * f->d + j] = scale * f->features[i * f->d + j];
  }
  return out;
}

// Keeps `best` (k entries, most similar first) up to date with one row of similarities.
static void merge_row(struct neighbour *best, int k, const float *row, int64_t n,
                      const int32_t *labels) {
  for (int64_t j = 0; j < n; j++) {
    if (!(row[j] > best[k - 1].similarity)) continue;
    int at = k - 1;
    for (; at > 0 && row[j] > best[at - 1].similarity; at--) best[at] = best[at - 1];
    best[at] = (struct neighbour){row[j], labels[j]};
  }
}

static int32_t vote(const struct neighbour *best, int k, double temperature, int classes,
                    double *votes) {
  int32_t winner = 0;
  memset(votes, 0, sizeof *votes * (size_t)classes);
  for (int i = 0; i < k && best[i].label >= 0; i++) // relative to the best: no overflow
    votes[best[i].label] += exp(((double)best[i].similarity - best[0].similarity) / temperature);
  for (int32_t c = 1; c < classes; c++)
    if (votes[c] > votes[winner]) winner = c;
  return winner;
}

// Right answers among `n` queries.
static int64_t query_block(const float *queries, const int32_t *truth, int64_t n, const float *bank,
                           const struct bt_features *train, int classes,
                           const struct bt_knn_options *o, float *similarity,
                           struct neighbour *best) {
  int k = o->k;
  int64_t d = train->d, right = 0;
  for (int64_t i = 0; i < n * k; i++) best[i] = (struct neighbour){-INFINITY, -1};
  for (int64_t from = 0; from < train->n; from += BANK_BLOCK) {
    int64_t m = train->n - from < BANK_BLOCK ? train->n - from : BANK_BLOCK;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, (int)m, (int)d, 1, queries, (int)d,
                bank + from * d, (int)d, 0, similarity, BANK_BLOCK);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
      merge_row(best + i * k, k, similarity + i * BANK_BLOCK, m, train->labels + from);
  }
  double *votes = bt_xcalloc((size_t)classes, sizeof *votes);
  for (int64_t i = 0; i < n; i++)
    right += vote(best + i * k, k, o->temperature, classes, votes) == truth[i];
  free(votes);
  return right;
}

double bt_knn(const struct bt_features *train, const struct bt_features *test, int classes,
              const struct bt_knn_options *options) {
  struct bt_knn_options o = *options;
  if (o.k > train->n) o.k = (int)train->n;
  float *bank = unit_rows(train), *queries = unit_rows(test);
  float *similarity = bt_xcalloc((size_t)QUERY_BLOCK * BANK_BLOCK, sizeof *similarity);
  struct neighbour *best = bt_xcalloc((size_t)QUERY_BLOCK * (size_t)o.k, sizeof *best);
  int64_t right = 0;
  for (int64_t from = 0; from < test->n; from += QUERY_BLOCK) {
    int64_t n = test->n - from < QUERY_BLOCK ? test->n - from : QUERY_BLOCK;
    right += query_block(queries + from * test->d, test->labels + from, n, bank, train, classes, &o,
                         similarity, best);
  }
  free(bank), free(queries), free(similarity), free(best);
  return (double)right / (double)test->n;
}

static size_t knn_bytes(const double *arg, int64_t rows, int64_t d, int classes) {
  (void)d, (void)classes;
  size_t width = (size_t)(rows < BANK_BLOCK ? rows : BANK_BLOCK);
  return QUERY_BLOCK * (width * sizeof(float) + (size_t)arg[0] * sizeof(struct neighbour));
}

// ---- linear probe -----------------------------------------------------------------------------

#define PROBE_BLOCK 512 // rows at a time: their logits stay in cache
#define PROBE_CHUNKS 32 // parts of the rows, summed in order whatever the number of threads
#define PROBE_MEMORY 10 // pairs that L-BFGS keeps

// One part of the rows and what it works with; a thread takes whole parts.
struct probe_chunk {
  int64_t begin, end;      // rows
  double loss, *gradient;  // summed over the rows; classes × d, then classes
  float *logits, *product; // PROBE_BLOCK × classes; classes × d
};

// Parameters x: classes × d weights, then classes biases.
struct probe {
  int64_t n, d;
  int classes;
  double weight_decay;
  const float *features; // standardised, n × d
  const int32_t *labels;
  float *weight; // classes × d
  struct probe_chunk chunks[PROBE_CHUNKS];
};

static void make_chunks(struct probe *p) {
  size_t weights = (size_t)p->classes * (size_t)p->d;
  for (int i = 0; i < PROBE_CHUNKS; i++) {
    struct probe_chunk *k = &p->chunks[i];
    k->gradient = bt_xcalloc(weights + (size_t)p->classes, sizeof *k->gradient);
    k->product = bt_xcalloc(weights, sizeof *k->product);
    k->logits = bt_xcalloc((size_t)PROBE_BLOCK * (size_t)p->classes, sizeof *k->logits);
  }
}

static void free_chunks(struct probe *p) {
  for (int i = 0; i < PROBE_CHUNKS; i++)
    free(p->chunks[i].gradient), free(p->chunks[i].product), free(p->chunks[i].logits);
}

// Turns to n rows.
static void use_rows(struct probe *p, int64_t n, const float *features, const int32_t *labels) {
  p->n = n, p->features = features, p->labels = labels;
  for (int i = 0; i < PROBE_CHUNKS; i++) {
    p->chunks[i].begin = n * i / PROBE_CHUNKS;
    p->chunks[i].end = n * (i + 1) / PROBE_CHUNKS;
  }
}

struct statistics {
  float *mean, *scale;
}; // d each

// scale is 0 for a constant column: it carries nothing.
static struct statistics column_statistics(const struct bt_features *f) {
  struct statistics s = {bt_xcalloc((size_t)f->d, sizeof(float)),
                         bt_xcalloc((size_t)f->d, sizeof(float))};
  double *mean = bt_xcalloc((size_t)f->d, sizeof *mean),
         *square = bt_xcalloc((size_t)f->d, sizeof *square);
  for (int64_t i = 0; i < f->n; i++)
    for (int64_t j = 0; j < f->d; j++) mean[j] += f->features[i * f->d + j];
  for (int64_t j = 0; j < f->d; j++) mean[j] /= (double)f->n;
  for (int64_t i = 0; i < f->n; i++)
    for (int64_t j = 0; j < f->d; j++) {
      double centred = f->features[i * f->d + j] - mean[j];
      square[j] += centred * centred;
    }
  for (int64_t j = 0; j < f->d; j++) {
    double deviation = sqrt(square[j] / (double)f->n);
    s.mean[j] = (float)mean[j];
    s.scale[j] = deviation > 1e-6 * fabs(mean[j]) && deviation > 1e-12 ? (float)(1 / deviation) : 0;
  }
  free(mean), free(square);
  return s;
}

static float *standardised(const struct bt_features *f, const struct statistics *s) {
  float *out = bt_xcalloc((size_t)f->n * (size_t)f->d, sizeof *out);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < f->n; i++)
    for (int64_t j = 0; j < f->d; j++)
      out[i * f->d + j] = (f->features[i * f->d + j] - s->mean[j]) * s->scale[j];
  return out;
}

static int64_t block_rows(const struct probe_chunk *k, int64_t from) {
  return k->end - from < PROBE_BLOCK ? k->end - from : PROBE_BLOCK;
}

// logits = features × weightᵀ + bias of n rows from `from`.
static void form_logits(const struct probe *p, const struct probe_chunk *k, int64_t from, int64_t n,
                        const double *bias) {
  for (int64_t i = 0; i < n; i++)
    for (int c = 0; c < p->classes; c++) k->logits[i * p->classes + c] = (float)bias[c];
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, p->classes, (int)p->d, 1,
              p->features + from * p->d, (int)p->d, p->weight, (int)p->d, 1, k->logits, p->classes);
}

// Turns a row of logits into its gradient, softmax − one-hot; returns its cross-entropy.
static double softmax_row(float *row, int classes, int32_t label) {
  float most = row[0], truth = row[label], sum = 0;
  for (int c = 1; c < classes; c++) most = row[c] > most ? row[c] : most;
  for (int c = 0; c < classes; c++) sum += row[c] = expf(row[c] - most);
  for (int c = 0; c < classes; c++) row[c] /= sum;
  row[label] -= 1;
  return log((double)sum) + most - truth;
}

static void chunk_objective(const struct probe *p, struct probe_chunk *k, const double *bias) {
  int64_t weights = p->classes * p->d;
  k->loss = 0;
  memset(k->gradient, 0, sizeof *k->gradient * (size_t)(weights + p->classes));
  for (int64_t from = k->begin; from < k->end; from += PROBE_BLOCK) {
    int64_t n = block_rows(k, from);
    form_logits(p, k, from, n, bias);
    for (int64_t i = 0; i < n; i++) {
      float *row = k->logits + i * p->classes;
      k->loss += softmax_row(row, p->classes, p->labels[from + i]);
      for (int c = 0; c < p->classes; c++) k->gradient[weights + c] += row[c];
    }
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, p->classes, (int)p->d, (int)n, 1,
                k->logits, p->classes, p->features + from * p->d, (int)p->d, 0, k->product,
                (int)p->d);
    for (int64_t i = 0; i < weights; i++) k->gradient[i] += k->product[i];
  }
}

static double probe_objective(void *context, const double *x, double *g) {
  struct probe *p = context;
  int64_t weights = p->classes * p->d;
  double loss = 0, decay = 0, scale = 1 / (double)p->n;
  for (int64_t i = 0; i < weights; i++) p->weight[i] = (float)x[i], decay += x[i] * x[i];
#pragma omp parallel for schedule(dynamic)
  for (int i = 0; i < PROBE_CHUNKS; i++) chunk_objective(p, &p->chunks[i], x + weights);
  for (int i = 0; i < PROBE_CHUNKS; i++) loss += p->chunks[i].loss;
  for (int64_t j = 0; j < weights + p->classes; j++) {
    double sum = 0;
    for (int i = 0; i < PROBE_CHUNKS; i++) sum += p->chunks[i].gradient[j];
    g[j] = scale * sum + (j < weights ? p->weight_decay * x[j] : 0);
  }
  return loss * scale + p->weight_decay / 2 * decay;
}

static int64_t chunk_right(const struct probe *p, const struct probe_chunk *k, const double *bias) {
  int64_t right = 0;
  for (int64_t from = k->begin; from < k->end; from += PROBE_BLOCK) {
    int64_t n = block_rows(k, from);
    form_logits(p, k, from, n, bias);
    for (int64_t i = 0; i < n; i++) {
      const float *row = k->logits + i * p->classes;
      int best = 0;
      for (int c = 1; c < p->classes; c++)
        if (row[c] > row[best]) best = c;
      right += best == p->labels[from + i];
    }
  }
  return right;
}

static double probe_accuracy(struct probe *p, const double *x) {
  int64_t right = 0, weights = p->classes * p->d;
  for (int64_t i = 0; i < weights; i++) p->weight[i] = (float)x[i];
#pragma omp parallel for reduction(+ : right)
  for (int i = 0; i < PROBE_CHUNKS; i++) right += chunk_right(p, &p->chunks[i], x + weights);
  return (double)right / (double)p->n;
}

double bt_linear_probe(const struct bt_features *train, const struct bt_features *test, int classes,
                       const struct bt_probe_options *options, int *iterations) {
  struct statistics s = column_statistics(train);
  float *fit = standardised(train, &s), *measure = standardised(test, &s);
  size_t weights = (size_t)classes * (size_t)train->d;
  double *x = bt_xcalloc(weights + (size_t)classes, sizeof *x);
  struct probe p = {.d = train->d,
                    .classes = classes,
                    .weight_decay = options->weight_decay,
                    .weight = bt_xcalloc(weights, sizeof(float))};
  struct bt_lbfgs_options how = {
      .memory = PROBE_MEMORY, .max_iterations = options->max_iterations, .tolerance = 1e-6};
  make_chunks(&p);
  use_rows(&p, train->n, fit, train->labels);
  *iterations = bt_lbfgs(probe_objective, &p, (int)weights + classes, x, &how);
  use_rows(&p, test->n, measure, test->labels);
  double accuracy = probe_accuracy(&p, x);
  free_chunks(&p);
  free(p.weight), free(x);
  free(fit), free(measure), free(s.mean), free(s.scale);
  return accuracy;
}

static size_t linear_probe_bytes(const double *arg, int64_t rows, int64_t d, int classes) {
  (void)arg, (void)rows;
  size_t weights = (size_t)d * (size_t)classes, x = weights + (size_t)classes;
  size_t logits = (size_t)PROBE_BLOCK * (size_t)classes;
  return PROBE_CHUNKS * (x * sizeof(double) + (weights + logits) * sizeof(float)) +
         x * sizeof(double) + weights * sizeof(float) + bt_lbfgs_bytes((int)x, PROBE_MEMORY);
}

// ---- arguments --------------------------------------------------------------------------------

static bool is_count(double n) { return n >= 1 && n <= INT32_MAX && n == floor(n); }

static bool knn_check(const double *arg, char *err, size_t errlen) {
  if (!is_count(arg[0]))
    return bt_fail(err, errlen, "`k` of `knn` is a whole number from 1, not %g", arg[0]);
  return (arg[1] > 0 && isfinite(arg[1])) ||
         bt_fail(err, errlen, "`temperature` of `knn` is above 0, not %g", arg[1]);
}

static bool linear_probe_check(const double *arg, char *err, size_t errlen) {
  if (!(arg[0] >= 0 && isfinite(arg[0])))
    return bt_fail(err, errlen, "`weight_decay` of `linear_probe` is a number from 0, not %g",
                   arg[0]);
  return is_count(arg[1]) ||
         bt_fail(err, errlen,
                 "`max_iterations` of `linear_probe` is a whole number from 1, not %g", arg[1]);
}

// ---- by kind ----------------------------------------------------------------------------------

static double evaluate_knn(const double *arg, const struct bt_features *train,
                           const struct bt_features *test, int classes) {
  struct bt_knn_options options = {(int)arg[0], arg[1]};
  return bt_knn(train, test, classes, &options);
}

static double evaluate_linear_probe(const double *arg, const struct bt_features *train,
                                    const struct bt_features *test, int classes) {
  struct bt_probe_options options = {arg[0], (int)arg[1]};
  int iterations;
  return bt_linear_probe(train, test, classes, &options, &iterations);
}

static const struct {
  const char *name;
  double (*run)(const double *, const struct bt_features *, const struct bt_features *, int);
  size_t (*bytes)(const double *, int64_t, int64_t, int);
  bool (*check)(const double *, char *, size_t);
} kinds[] = {
#define EVALUATE(name, ...) {#name, evaluate_##name, name##_bytes, name##_check},
#include "evaluate.def"
#undef EVALUATE
};

bool bt_evaluate_check(const struct bt_evaluate *evaluate, char *err, size_t errlen) {
  if ((unsigned)evaluate->kind >= BT_EVALUATE_COUNT)
    bt_die("evaluate kind %d", (int)evaluate->kind);
  return kinds[evaluate->kind].check(evaluate->arg, err, errlen);
}

double bt_evaluate(const struct bt_evaluate *evaluate, const struct bt_features *train,
                   const struct bt_features *test, int classes) {
  if ((unsigned)evaluate->kind >= BT_EVALUATE_COUNT)
    bt_die("evaluate kind %d", (int)evaluate->kind);
  return kinds[evaluate->kind].run(evaluate->arg, train, test, classes);
}

size_t bt_evaluate_bytes(const struct bt_evaluate *evaluate, int64_t train, int64_t test, int64_t d,
                         int classes) {
  size_t scaled = (size_t)(train + test) * (size_t)d * sizeof(float);
  return scaled + kinds[evaluate->kind].bytes(evaluate->arg, train, d, classes);
}

const char *bt_evaluate_name(enum bt_evaluate_kind kind) { return kinds[kind].name; }
