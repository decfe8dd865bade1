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

#endif
