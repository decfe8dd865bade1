#!/bin/sh
# Installs the Debian packages that are missing: what building needs, and for each argument
#   dataset   Fashion-MNIST          test      what the tests need
#   fuzz      clang with libFuzzer   coverage  what prints the lines that fuzzing reaches
# As root or through sudo without a password; otherwise prints the one command and fails.
set -u

packages="gcc make flex bison libc6-dev libgomp1 libopenblas-openmp-dev zlib1g-dev libjansson-dev libjpeg62-turbo-dev libpng-dev"
for group in "$@"; do
  case $group in
    dataset) packages="$packages dataset-fashion-mnist" ;;
    test) packages="$packages libcmocka-dev valgrind" ;;
    fuzz) packages="$packages clang-19 libclang-rt-19-dev" ;;
    coverage) packages="$packages llvm-19" ;;
    *) echo "setup: unknown group '$group' (dataset, test, fuzz, coverage)" >&2; exit 2 ;;
  esac
done

missing=
for p in $packages; do
  dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q '^install ok installed$' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0

command="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" = 0 ]; then sudo=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo="sudo -n"
else
  echo "setup: these packages are missing:$missing" >&2
  echo "setup: run this once:  sudo $command" >&2
  exit 1
fi
echo "Installing:$missing"
log=$(mktemp)
if ! { $sudo env DEBIAN_FRONTEND=noninteractive $command || { $sudo apt-get update && $sudo env DEBIAN_FRONTEND=noninteractive $command; }; } >"$log" 2>&1; then
  cat "$log" >&2
  echo "setup: could not install; the command was: $command" >&2
  rm -f "$log"
  exit 1
fi
rm -f "$log"
