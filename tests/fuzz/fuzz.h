// fuzz.h: what libFuzzer's targets share. FUZZ_HOME, the repository's top folder, comes from the Makefile.
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
// libFuzzer's own mutations, of bytes and with the words of its dictionary.
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
// Of mutate.c, linked into the targets whose input is text.
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *x, size_t x_size, const uint8_t *y, size_t y_size, uint8_t *out, size_t most, unsigned seed);

// Of file.c, linked into the others, which read files. Each gives the path, a folder and a name, of a file
// in memory; there is one, which the next call fills anew.
#define FUZZ_FOLDER "/proc/self/fd"
struct fuzz_file {
  char path[64];
  const char *name; // within FUZZ_FOLDER
};
struct fuzz_file fuzz_file(const void *data, size_t size);
struct fuzz_file fuzz_gzip(const void *data, size_t size); // the data compressed
// A safetensors file whose header has the right length: what is before the input's first NUL is the header,
// what is behind it the tensors' bytes.
struct fuzz_file fuzz_safetensors(const uint8_t *data, size_t size);

// Stops with a finding unless it holds.
#define fuzz_expect(condition) ((condition) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #condition))
_Noreturn void fuzz_fail(const char *file, int line, const char *what);

#endif
