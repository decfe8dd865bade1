// evaluate.h: how good are features? Measures that fit on one set and count right answers on
// another.
#ifndef BT_EVALUATE_H
#define BT_EVALUATE_H

#include "btrt_internal.h"

// features: n × d row-major. Labels are 0 … classes-1.
struct bt_features {
  int64_t n, d;
  const float *features;
  const int32_t *labels;
};

// Whether the arguments have a meaning; else err names the wrong one.
bool bt_evaluate_check(const struct bt_evaluate *evaluate, char *err, size_t errlen);
// The share of test rows that are right, by kind with the arguments of evaluate.def. Features are
// finite, labels below `classes`; a class may have no row.
//
// knn: weighted nearest neighbours (Wu et al., "Unsupervised feature learning via non-parametric
// instance discrimination", 2018). The k most similar training rows (all, where they are fewer) by
// cosine, which is 0 for a row of zeros, vote with weight exp(similarity / temperature). Of equal
// similarities the row with the lower index comes first, of equal votes the lower class wins.
//
// linear_probe: multinomial logistic regression on features standardised with the training set's
// statistics: minimises mean cross-entropy + weight_decay / 2 × ‖W‖² (biases free) by L-BFGS.
//
// work: bt_evaluate_bytes bytes, on BT_ALIGN. watch: of training rows (knn) or of iterations; NaN
// where it asked to stop.
double bt_evaluate(const struct bt_evaluate *evaluate, const struct bt_features *train,
                   const struct bt_features *test, int classes, void *work, const struct bt_onlooker *watch);
// For that many rows of d features.
size_t bt_evaluate_bytes(const struct bt_evaluate *evaluate, int64_t train, int64_t test, int64_t d,
                         int classes);
const char *bt_evaluate_name(enum bt_evaluate_kind kind);

#endif
