// units.c: see units.h.
#include "units.h"

#include <math.h>

struct unit {
  double size;
  const char *name;
};

// The largest unit of which there is at least one.
static const char *in_units(struct arena *a, double x, const struct unit *units, int n) {
  int i = 0;
  while (i < n - 1 && fabs(x) < units[i].size) i++;
  double scaled = x / units[i].size;
  int digits = scaled == floor(scaled) && i == n - 1 ? 0 : fabs(scaled) < 10 ? 2 : fabs(scaled) < 100 ? 1 : 0;
  return str_printf(a, "%.*f %s", digits, scaled, units[i].name);
}
#define IN_UNITS(a, x, units) in_units(a, x, units, sizeof units / sizeof *units)

const char *unit_bytes(struct arena *a, double bytes) {
  static const struct unit units[] = {{0x1p30, "GiB"}, {0x1p20, "MiB"}, {0x1p10, "KiB"}, {1, "B"}};
  return IN_UNITS(a, bytes, units);
}

const char *unit_flops(struct arena *a, double flops) {
  static const struct unit units[] = {{1e12, "TFLOP"}, {1e9, "GFLOP"}, {1e6, "MFLOP"}, {1e3, "kFLOP"}, {1, "FLOP"}};
  return IN_UNITS(a, flops, units);
}

const char *unit_seconds(struct arena *a, double seconds) {
  static const struct unit units[] = {{1, "s"}, {1e-3, "ms"}, {1e-6, "us"}};
  return isnan(seconds) ? "?" : IN_UNITS(a, seconds, units);
}
