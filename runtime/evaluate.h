// evaluate.h: how good are features? Measures that fit on one set and count right answers on
// another.
#ifndef BT_EVALUATE_H
#define BT_EVALUATE_H

#include "btrt.h"

// features: n × d row-major. Labels are 0 … classes-1.
struct bt_features {
  int64_t n, d;
  const float *features;
  const int32_t *labels;
};

struct bt_knn_options {
  int k;
  double temperature;
};
struct bt_probe_options {
  double weight_decay;
  int max_iterations;
};

// Weighted nearest neighbours (Wu et al., "Unsupervised feature learning via non-parametric
// instance discrimination", 2018): the k most similar rows by cosine vote with weight
// exp(similarity / T). Returns the share of test rows that are right.
double bt_knn(const struct bt_features *train, const struct bt_features *test, int classes,
              const struct bt_knn_options *options);

// Multinomial logistic regression on features standardised with the training set's statistics:
// minimises mean cross-entropy + weight_decay / 2 × ‖W‖² (biases free) by L-BFGS. Returns the share
// of test rows that are right; *iterations says how many L-BFGS took.
double bt_linear_probe(const struct bt_features *train, const struct bt_features *test, int classes,
                       const struct bt_probe_options *options, int *iterations);

// Whether the arguments have a meaning; else err names the wrong one.
bool bt_evaluate_check(const struct bt_evaluate *evaluate, char *err, size_t errlen);
// By kind, with the arguments of evaluate.def.
double bt_evaluate(const struct bt_evaluate *evaluate, const struct bt_features *train,
                   const struct bt_features *test, int classes);
// Working memory of bt_evaluate for that many rows of d features, in bytes.
size_t bt_evaluate_bytes(const struct bt_evaluate *evaluate, int64_t train, int64_t test, int64_t d,
                         int classes);
const char *bt_evaluate_name(enum bt_evaluate_kind kind);

#endif
