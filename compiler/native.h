// native.h: from loop kernels to machine code: writes the C, has it compiled together with the user's
// own C functions that it calls.
#ifndef BTC_NATIVE_H
#define BTC_NATIVE_H

#include "codegen.h"
#include "driver.h"

// Writes the C of `cg` to c_file and makes `out` of it: an executable, or a shared object. What else it
// writes lies beside c_file and is removed again. False after a diagnostic.
bool native_build(const struct codegen *cg, const struct host *host, const char *c_file, const char *out, bool shared);
// What the C and the executable say about how they were made.
const char *native_description(struct btc *b, const struct host *host);

#endif
