#!/bin/bash
# tests/e2e/run.sh - runs the end-to-end tests, or those named: tests/e2e/run.sh [wordcount ...]
#
# One after the other: each starts several processes of its own, and two cores are enough.
set -u
cd "$(dirname "$0")/../.." || exit 2
tests=()
for t in tests/e2e/*.sh; do
    name=$(basename "$t" .sh)
    case $name in lib | run) continue ;; esac
    if [ $# = 0 ] || [[ " $* " == *" $name "* ]]; then tests+=("$t"); fi
done
exec tests/run.sh "${tests[@]}"
