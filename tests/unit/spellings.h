// spellings.h: the objectives of tests/models/spellings.btg and gram.btg as plain graphs: forward
// and backward, simplified, which is what derivations start from.
#ifndef SPELLINGS_H
#define SPELLINGS_H

#include "graph.h"

// The function over za, zb: f32[n, d], with outputs out, dza, dzb. Fails the test after
// diagnostics.
struct graph *spelling_graph(struct btc *b, const char *function, int64_t n, int64_t d);

// The tensors of objective_NAME; skips the test where there is no folder of them.
struct reference_file {
  const struct tensor64 *za, *zb, *loss, *dza, *dzb;
};
struct reference_file reference_objective(struct btc *b, const char *name);
// Fails unless the outputs of g on the reference's inputs are the reference's, to `tolerance` of
// the largest entry.
void assert_matches_reference(const struct graph *g, const struct reference_file *r,
                              double tolerance);

// Objectives of correlations: files of reference tensors, and the function that spells each.
#define CORRELATION_REFERENCES                \
  {"barlow_twins_small", "barlow_offdiag"},   \
  {"barlow_twins_wide", "barlow_offdiag"},    \
  {"barlow_twins_tall", "barlow_offdiag"},    \
  {"barlow_twins_offset", "barlow_offdiag"},  \
  {"barlow_hsic_small", "own_hsic"},       \
  {"barlow_hsic_wide", "own_hsic"},        \
  {"barlow_hsic_tall", "own_hsic"},        \
  {"vicreg_small", "own_vicreg"},                 \
  {"vicreg_wide", "own_vicreg"},                  \
  {"vicreg_tall", "vicreg_diagonal"}

#endif
