#!/bin/bash
# tests/run.sh - runs test programs and scripts one after the other and counts their results.
#
# usage: tests/run.sh TEST...      each prints TAP: `ok ...`, `not ok ...`; `# SKIP` is not counted
# Everything a test prints is shown.  A test that ends with a bad status without having said
# `not ok`, or says nothing at all, counts as one failure.  The last line is `N passed, N failed`.
#   TEST_LIMIT_S  seconds one test may take (900)
set -u
cd "$(dirname "$0")/.." || exit 2
export CMOCKA_MESSAGE_OUTPUT=TAP
log=$(mktemp) && trap 'rm -f "$log"' EXIT
passed=0 failed=0 skipped=0 bad=()
for t in "$@"; do
    echo "== $t"
    timeout -k 10 "${TEST_LIMIT_S:-900}" "$t" </dev/null 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    ok=$(grep -cE '^ok ' "$log")
    skip=$(grep -cE '^ok .*# SKIP' "$log")
    not_ok=$(grep -cE '^not ok' "$log")
    if [ "$status" -ge 124 ]; then
        echo "# $t ended with status $status"
    fi
    if [ "$not_ok" = 0 ] && { [ "$status" != 0 ] || [ "$ok" = 0 ]; }; then
        echo "not ok - $t ended with status $status after $ok results"
        not_ok=1
    fi
    [ "$not_ok" = 0 ] || bad+=("$t")
    passed=$((passed + ok - skip)) failed=$((failed + not_ok)) skipped=$((skipped + skip))
done
[ $skipped = 0 ] || echo "$skipped skipped"
[ ${#bad[@]} = 0 ] || printf 'failed in %s\n' "${bad[@]}"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
