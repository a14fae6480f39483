# shellcheck shell=sh
# examples/env.sh - finds Oxbow for the examples: sourced, with `here` set to the example's folder.
#
# Sets OXBOW, OXBOW_MASTER_PROGRAM and OXBOW_WORKER_PROGRAM (the programs), SDK_CFLAGS and SDK_LIBS
# (to build against).
# An environment that sets them wins; then the build of this source tree; then what is installed.
build=${OXBOW_BIN:-$here/../../build}
if [ -x "$build/oxbow" ]; then
    build=$(cd "$build" && pwd)
    : "${OXBOW:=$build/oxbow}" "${OXBOW_MASTER_PROGRAM:=$build/oxbow-master}"
    : "${OXBOW_WORKER_PROGRAM:=$build/oxbow-worker}"
    : "${SDK_CFLAGS:=-I$build/include}"
    : "${SDK_LIBS:=-L$build -loxbow -Wl,-rpath,$build}"
else
    : "${OXBOW:=oxbow}" "${OXBOW_MASTER_PROGRAM:=oxbow-master}"
    : "${OXBOW_WORKER_PROGRAM:=oxbow-worker}"
    : "${SDK_CFLAGS:=$(pkg-config --cflags oxbow)}" "${SDK_LIBS:=$(pkg-config --libs oxbow)}"
fi
CC=${CC:-cc}
work=$here/work
rm -rf "$work"
mkdir -p "$work"

# same WHAT GOT WANT - compare two files; ends the script when they differ.
same() {
    if cmp -s "$2" "$3"; then
        echo "ok: $1"
    else
        echo "FAILED: $1: $2 and $3 differ:" >&2
        diff "$2" "$3" | head -n 10 >&2 || true
        exit 1
    fi
}
