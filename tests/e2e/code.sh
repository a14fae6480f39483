#!/bin/bash
# tests/e2e/code.sh - code is replaced again and again: a plug-in rebuilt under its name is another
# one, the new code runs beside the old, and code that nobody runs any more leaves the process.
#
# The plug-ins in a worker are counted from outside, in /proc/PID/maps.
source "$(dirname "$0")/lib.sh"

cat >"$WORK/stamp.c" <<'C'
#include <oxbow/pe.h>

static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    struct oxb_batch *out = oxb_derive(pe, 0, in);
    (void)port;
    oxb_set_column(pe, out, (unsigned)oxb_field(oxb_out_schema(pe, 0), "b"),
                   oxb_const_i64(pe, VERSION));
    oxb_forward(pe, 0, out);
    return OXB_OK;
}
static const struct oxb_port outputs[] = {{"out", "*, b: i64", "stamped"}, {0}};
extern const struct oxb_pe_type oxb_pe;
OXB_EXPORT const struct oxb_pe_type oxb_pe = {
    .abi = OXB_ABI, .name = "stamp", .outputs = outputs, .state_version = 1, .process = process};
C
build() { # VERSION: always the same file
    cc -shared -fPIC -O1 -DVERSION="$1" "$WORK/stamp.c" -I"$BIN/include" -o "$WORK/stamp.so"
}
code_of() { # WORKER: plug-ins that it has mapped
    grep -o '[0-9a-f]*\.so' "/proc/${WORKER_PID[$1]}/maps" | grep -E '^[0-9a-f]{64}\.so$' |
        sort -u | wc -l
}
has_code() { [ "$(code_of "$1")" = "$2" ]; }
threads_of() { sed -nE 's/^Threads:[^0-9]*([0-9]+)/\1/p' "/proc/${WORKER_PID[$1]}/status"; }
fds_of() { find "/proc/${WORKER_PID[$1]}/fd" -mindepth 1 2>/dev/null | wc -l; }

topology() { # PARALLELISM THREADS
    cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: code
pes:
  numbers: {use: sequence, with: {rate: 20000, keys: 1}}
  stamp: {use: ./stamp.so, parallelism: $1, threads: $2}
  store: {use: file-sink, with: {path: $WORK/main, commit: flush}}
streams:
  - {from: numbers, to: stamp, by: key}
  - {from: stamp, to: store}
YAML
}
upgrade() {
    timeout -k 5 60 "$BIN/oxbow" --master "$URL" -o json upgrade "$WORK/t.yaml" --yes \
        >"$WORK/receipt" 2>"$WORK/upgrade.err" && grep -q '"result": "done"' "$WORK/receipt"
}

start_cluster 1
topology 1 shared && build 1
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" || give_up "deploys"
echo 'main b=1' >"$WORK/versions"
check "numbers flow" wait_for 10 lines_above "$WORK/main" 100
check "one plug-in is loaded" has_code w1 1
threads=$(threads_of w1) fds=$(fds_of w1)

bad=0
for ((v = 2; v <= 40; v++)); do # the file is rebuilt in place; every third time with more beside
    topology $((v % 3 + 1)) shared
    build $v && upgrade || bad=$((bad + 1))
    echo "main b=$v" >>"$WORK/versions"
    wait_for 10 lines_above "$WORK/main" $(($(lines_in "$WORK/main") + 100)) || bad=$((bad + 1))
done
check_same "39 times other code under the same name" $bad 0
check "old code has left" wait_for 10 has_code w1 1
topology 1 shared
build 200 && upgrade && echo 'main b=200' >>"$WORK/versions"
check_same "as many threads as in the beginning" "$(threads_of w1)" "$threads"
check "as many descriptors as in the beginning" [ "$(fds_of w1)" -le $((fds + 1)) ]

sed 's/topology: code/topology: other/; s|/main|/other|' "$WORK/t.yaml" >"$WORK/o.yaml"
oxbow deploy "$WORK/o.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err"
check "two topologies with the same file share it" wait_for 10 has_code w1 1
is_change() { oxbow plan "$WORK/t.yaml" 2>&1 | grep -q '~ pe stamp'; }
if is_change; then not_ok "the same file is no change"; else ok "the same file is no change"; fi
build 201
check "a rebuild is a change" is_change
upgrade && echo 'main b=201' >>"$WORK/versions"
check "each has its own then" wait_for 10 has_code w1 2
timeout -k 5 60 "$BIN/oxbow" --master "$URL" stop other --now >/dev/null 2>&1
check "with the last topology that runs it, code leaves" wait_for 10 has_code w1 1
check "and the other one runs on" \
    wait_for 10 lines_above "$WORK/main" $(($(lines_in "$WORK/main") + 1000))
timeout -k 5 60 "$BIN/oxbow" --master "$URL" stop code >/dev/null 2>&1
check "nothing is left" wait_for 10 has_code w1 0
check "every tuple once, in order, of one version" "$BIN/tests/e2e/tuples" --keys 1 \
    --total "$(pe_tuples code numbers out)" --versions "$WORK/versions" "main=$WORK/main"
finish
