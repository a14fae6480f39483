#!/bin/sh
# examples/telemetry/run.sh [RUN OPTIONS] - two seconds of live telemetry from /proc, by a source in
# C, checked against awk.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../env.sh"
work=$here/work

# shellcheck disable=SC2086 # the flags are several words
$CC -O2 -Wall -Wextra -shared -fPIC "$here/proc.c" $SDK_CFLAGS -o "$work/proc.so"

"$OXBOW" run "$here/topology.yaml" "$@"

# field NAME - that field of every JSON line on stdin, without quotes.
field() {
    sed -E 's/.*"'"$1"'": *"?([^",}]*).*/\1/'
}

field metric <"$work/samples.jsonl" >"$work/metric"
field value <"$work/samples.jsonl" >"$work/value"
paste -d ' ' "$work/metric" "$work/value" |
    awk '{ n[$1]++; s[$1] += $2 } END { for (k in n) printf "%s %d %.3f\n", k, n[k], s[k] }' |
    LC_ALL=C sort >"$work/want"
field metric <"$work/sums.jsonl" >"$work/metric"
field sum <"$work/sums.jsonl" >"$work/value"
paste -d ' ' "$work/metric" "$work/value" |
    awk '{ printf "%s %d %.3f\n", $1, 20, $2 }' | LC_ALL=C sort >"$work/got"

echo "mean of 20 samples:"
awk '{ printf "  %-20s %.2f\n", $1, $3 / $2 }' "$work/got"
same "20 samples of each metric, summed as awk sums them" "$work/got" "$work/want"
field value <"$work/memory.jsonl" | awk '{ printf "%.0f\n", $1 }' | sort -u >"$work/memory.got"
awk '$1 == "MemTotal:" { print $2 }' /proc/meminfo >"$work/memory.want"
same "the memory of this machine, as /proc/meminfo has it" "$work/memory.got" "$work/memory.want"
