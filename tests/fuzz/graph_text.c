// graph_text.c: libFuzzer's target for the text form of graphs: what parses is well formed, and
// printing it gives a text that parses to the same. The passes run on what is small.
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "graph.h"

static const char *printed(struct btc *b, const struct graph *g) {
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  expect(out, "out of memory");
  graph_print(out, g);
  fclose(out);
  const char *kept = str_ndup(b->arena, text, size);
  free(text);
  return kept;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct btc *b = btc_new();
  FILE *sink = fopen("/dev/null", "w");
  expect(sink, "cannot open /dev/null");
  b->opt.max_errors = 20;
  struct graph *g = graph_parse(b, source_add(b, "input.graph", (const char *)data, size));
  if (g) {
    graph_verify(g, "parse");
    const char *once = printed(b, g);
    struct graph *again = graph_parse(b, source_add(b, "printed.graph", once, strlen(once)));
    const char *twice = again ? printed(b, again) : "(errors)";
    expect(strcmp(once, twice) == 0,
           "printing and parsing changes a graph:\n%s\n---- and then ----\n%s", once, twice);
    bool stopped;
    passes_run(b, g, &stopped);
  }
  diag_flush(b, sink);
  fclose(sink);
  btc_free(b);
  return 0;
}
