// evaluate.c: weighted nearest neighbours and the linear probe. See evaluate.h.
//
// Both are a few large matrix products over blocks of rows that stay in cache, with the small work
// (the best k, the softmax) done by row in parallel.
#include "evaluate.h"
#include "btrt_internal.h"
#include "lbfgs.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

// ---- nearest neighbours -----------------------------------------------------------------------

#define QUERY_BLOCK 256
#define BANK_BLOCK 4096

struct neighbour {
  float similarity;
  int32_t label;
};

// A block of the bank meets all queries before the next one does, so only blocks are copied.
struct knn {
  float *bank, *queries, *similarity; // BANK_BLOCK × d and QUERY_BLOCK × d unit rows; their products
  struct neighbour *best;             // k of each query, most similar first
  double *votes;                      // by class
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t neighbours(const double *arg, int64_t train) { return smaller((int64_t)arg[0], train); }

static struct knn knn_place(struct bt_room *room, const double *arg, int64_t train, int64_t test, int64_t d, int classes) {
  size_t bank = (size_t)smaller(train, BANK_BLOCK), queries = (size_t)smaller(test, QUERY_BLOCK);
  size_t k = (size_t)neighbours(arg, train);
  struct knn w;
  w.bank = bt_room_take(room, bank * (size_t)d, sizeof *w.bank);
  w.queries = bt_room_take(room, queries * (size_t)d, sizeof *w.queries);
  w.similarity = bt_room_take(room, queries * bank, sizeof *w.similarity);
  w.best = bt_room_take(room, (size_t)test * k, sizeof *w.best);
  w.votes = bt_room_take(room, (size_t)classes, sizeof *w.votes);
  return w;
}

// n rows from `from`, divided by their Euclidean norm.
static void unit_rows(const struct bt_features *f, int64_t from, int64_t n, float *to) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; i++) {
    const float *row = f->features + (from + i) * f->d;
    double sum = 0;
    for (int64_t j = 0; j < f->d; j++) sum += (double)row[j] * row[j];
    double scale = sum > 0 ? 1 / sqrt(sum) : 0;
    for (int64_t j = 0; j < f->d; j++) to[i * f->d + j] = (float)(scale * row[j]);
  }
}

// Keeps `best` (k entries) up to date with one row of similarities.
static void merge_row(struct neighbour *best, int64_t k, const float *row, int64_t n,
                      const int32_t *labels) {
  for (int64_t j = 0; j < n; j++) {
    if (!(row[j] > best[k - 1].similarity)) continue;
    int64_t at = k - 1;
    for (; at > 0 && row[j] > best[at - 1].similarity; at--) best[at] = best[at - 1];
    best[at] = (struct neighbour){row[j], labels[j]};
  }
}

// votes: zeros, before and after.
static int32_t vote(const struct neighbour *best, int64_t k, double temperature, double *votes) {
  int32_t winner = best[0].label;
  for (int64_t i = 0; i < k; i++) // relative to the best: no overflow
    votes[best[i].label] += exp(((double)best[i].similarity - best[0].similarity) / temperature);
  for (int64_t i = 1; i < k; i++) {
    int32_t c = best[i].label;
    if (votes[c] > votes[winner] || (votes[c] == votes[winner] && c < winner)) winner = c;
  }
  for (int64_t i = 0; i < k; i++) votes[best[i].label] = 0;
  return winner;
}

// The bank's rows from `from`, n of them, against all queries.
static void meet_bank(const struct knn *w, const struct bt_features *train, const struct bt_features *test,
                      int64_t k, int64_t from, int64_t n) {
  int64_t d = train->d;
  unit_rows(train, from, n, w->bank);
  for (int64_t q = 0; q < test->n; q += QUERY_BLOCK) {
    int64_t m = smaller(test->n - q, QUERY_BLOCK);
    unit_rows(test, q, m, w->queries);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)n, (int)d, 1, w->queries, (int)d,
                w->bank, (int)d, 0, w->similarity, (int)n);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++)
      merge_row(w->best + (q + i) * k, k, w->similarity + i * n, n, train->labels + from);
  }
}

static double knn_run(const double *arg, const struct bt_features *train, const struct bt_features *test,
                      int classes, struct bt_room *room, const struct bt_onlooker *watch) {
  struct knn w = knn_place(room, arg, train->n, test->n, train->d, classes);
  int64_t k = neighbours(arg, train->n), right = 0;
  for (int64_t i = 0; i < test->n * k; i++) w.best[i] = (struct neighbour){-INFINITY, -1};
  for (int64_t from = 0; from < train->n; from += BANK_BLOCK) {
    if (!bt_goes_on(watch, from, train->n)) return NAN;
    meet_bank(&w, train, test, k, from, smaller(train->n - from, BANK_BLOCK));
  }
  memset(w.votes, 0, sizeof *w.votes * (size_t)classes);
  for (int64_t i = 0; i < test->n; i++)
    right += vote(w.best + i * k, k, arg[1], w.votes) == test->labels[i];
  return (double)right / (double)test->n;
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

// Turns to n rows.
static void use_rows(struct probe *p, int64_t n, const float *features, const int32_t *labels) {
  p->n = n, p->features = features, p->labels = labels;
  for (int i = 0; i < PROBE_CHUNKS; i++) {
    p->chunks[i].begin = n * i / PROBE_CHUNKS;
    p->chunks[i].end = n * (i + 1) / PROBE_CHUNKS;
  }
}

// What a probe works in, beside its chunks.
struct probe_room {
  float *mean, *scale;        // d each: of the training features
  double *moments;            // 2 d
  float *fit, *measure;       // standardised: train × d, test × d
  double *x;
  void *lbfgs;
};

static struct probe_room probe_place(struct bt_room *room, struct probe *p, int64_t train, int64_t test, int64_t d, int classes) {
  size_t columns = (size_t)d, weights = columns * (size_t)classes, all = weights + (size_t)classes;
  struct probe_room w;
  for (int i = 0; i < PROBE_CHUNKS; i++) {
    struct probe_chunk *k = &p->chunks[i];
    k->gradient = bt_room_take(room, all, sizeof *k->gradient);
    k->product = bt_room_take(room, weights, sizeof *k->product);
    k->logits = bt_room_take(room, (size_t)PROBE_BLOCK * (size_t)classes, sizeof *k->logits);
  }
  p->weight = bt_room_take(room, weights, sizeof *p->weight);
  w.mean = bt_room_take(room, columns, sizeof *w.mean), w.scale = bt_room_take(room, columns, sizeof *w.scale);
  w.moments = bt_room_take(room, 2 * columns, sizeof *w.moments);
  w.fit = bt_room_take(room, (size_t)train * columns, sizeof *w.fit);
  w.measure = bt_room_take(room, (size_t)test * columns, sizeof *w.measure);
  w.x = bt_room_take(room, all, sizeof *w.x);
  w.lbfgs = bt_room_take(room, bt_lbfgs_bytes((int)all, PROBE_MEMORY), 1);
  return w;
}

// scale is 0 for a constant column: it carries nothing.
static void column_statistics(const struct bt_features *f, const struct probe_room *w) {
  double *mean = w->moments, *square = w->moments + f->d;
  memset(mean, 0, 2 * sizeof *mean * (size_t)f->d);
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
    w->mean[j] = (float)mean[j];
    w->scale[j] = deviation > 1e-6 * fabs(mean[j]) && deviation > 1e-12 ? (float)(1 / deviation) : 0;
  }
}

static void standardise(const struct bt_features *f, const struct probe_room *w, float *to) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < f->n; i++)
    for (int64_t j = 0; j < f->d; j++)
      to[i * f->d + j] = (f->features[i * f->d + j] - w->mean[j]) * w->scale[j];
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

// What watches an L-BFGS, and whether it asked to stop.
struct probe_watch {
  const struct bt_onlooker *outer;
  bool stopped;
};

static bool probe_goes_on(void *user, int64_t done, int64_t of) {
  struct probe_watch *w = user;
  w->stopped = !bt_goes_on(w->outer, done, of);
  return !w->stopped;
}

static double linear_probe_run(const double *arg, const struct bt_features *train, const struct bt_features *test,
                               int classes, struct bt_room *room, const struct bt_onlooker *watch) {
  struct probe p = {.d = train->d, .classes = classes, .weight_decay = arg[0]};
  struct probe_room w = probe_place(room, &p, train->n, test->n, train->d, classes);
  struct probe_watch watched = {watch, false};
  struct bt_lbfgs_options how = {.memory = PROBE_MEMORY, .max_iterations = (int)arg[1], .tolerance = 1e-6,
                                 .watch = {probe_goes_on, &watched}};
  int variables = (int)(classes * train->d) + classes;
  memset(w.x, 0, sizeof *w.x * (size_t)variables);
  column_statistics(train, &w);
  standardise(train, &w, w.fit), standardise(test, &w, w.measure);
  use_rows(&p, train->n, w.fit, train->labels);
  bt_lbfgs(probe_objective, &p, variables, w.x, &how, w.lbfgs);
  if (watched.stopped) return NAN;
  use_rows(&p, test->n, w.measure, test->labels);
  return probe_accuracy(&p, w.x);
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

static void place_knn(struct bt_room *room, const double *arg, int64_t train, int64_t test, int64_t d, int classes) {
  knn_place(room, arg, train, test, d, classes);
}

static void place_linear_probe(struct bt_room *room, const double *arg, int64_t train, int64_t test, int64_t d, int classes) {
  struct probe p;
  (void)arg;
  probe_place(room, &p, train, test, d, classes);
}

static const struct {
  const char *name;
  double (*run)(const double *, const struct bt_features *, const struct bt_features *, int, struct bt_room *,
                const struct bt_onlooker *);
  void (*place)(struct bt_room *, const double *, int64_t, int64_t, int64_t, int);
  bool (*check)(const double *, char *, size_t);
} kinds[] = {
#define EVALUATE(name, ...) {#name, name##_run, place_##name, name##_check},
#include "evaluate.def"
#undef EVALUATE
};

bool bt_evaluate_check(const struct bt_evaluate *evaluate, char *err, size_t errlen) {
  if ((unsigned)evaluate->kind >= BT_EVALUATE_COUNT)
    bt_die("evaluate kind %d", (int)evaluate->kind);
  return kinds[evaluate->kind].check(evaluate->arg, err, errlen);
}

double bt_evaluate(const struct bt_evaluate *evaluate, const struct bt_features *train,
                   const struct bt_features *test, int classes, void *work, const struct bt_onlooker *watch) {
  if ((unsigned)evaluate->kind >= BT_EVALUATE_COUNT)
    bt_die("evaluate kind %d", (int)evaluate->kind);
  struct bt_room room = {work, 0};
  return kinds[evaluate->kind].run(evaluate->arg, train, test, classes, &room, watch);
}

size_t bt_evaluate_bytes(const struct bt_evaluate *evaluate, int64_t train, int64_t test, int64_t d,
                         int classes) {
  struct bt_room room = {0};
  kinds[evaluate->kind].place(&room, evaluate->arg, train, test, d, classes);
  return room.used;
}

const char *bt_evaluate_name(enum bt_evaluate_kind kind) { return kinds[kind].name; }
