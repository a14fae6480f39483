#!/bin/bash
# tests/e2e/exchanged.sh - code of another type takes a PE's place under its name: what the old sink
# had not committed is committed, the new source begins at its beginning; and code that cannot take
# over what the old one left fails its topology, and nothing else on that worker.
source "$(dirname "$0")/lib.sh"

topology() { # SOURCE SINK
    cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: t
checkpoint: {every: 1h}
pes:
  numbers: {$1}
  store: {$2}
streams:
  - {from: numbers, to: store}
YAML
}
run() { timeout -k 5 60 "$BIN/oxbow" --master "$URL" "$@" >"$WORK/run.out" 2>"$WORK/run.err"; }
upgrade() { # WHAT
    run upgrade "$WORK/t.yaml" --yes
    check_same "$1" $? 0
    check "$1: it runs" wait_for 10 state_is t running
}
numbers_in() { grep -o '"seq":[0-9]*' "$@" | cut -d: -f2; }
lines_in_out() { lines_above "$WORK/w1.out" 1000; }

start_cluster 1
sequence='use: sequence, with: {rate: 20000, keys: 16}'
topology "$sequence" "use: file-sink, with: {path: $WORK/f}"
run deploy "$WORK/t.yaml" || give_up "deploys" "$(tail -n1 "$WORK/run.err")"
check "numbers flow" wait_for 20 tuples_above t store in 1000
run checkpoint t
topology "$sequence" "use: stdout-sink, with: {format: jsonl}"
run plan "$WORK/t.yaml"
check "a plan says what begins anew" \
    grep -q 'store: stdout-sink takes the place of file-sink, and begins anew' "$WORK/run.out"
upgrade "a file-sink becomes a stdout-sink"
check "lines come out there" wait_for 20 lines_in_out
run checkpoint t
check_same "a checkpoint behind it" $? 0
topology "$sequence" "use: null-sink"
upgrade "that becomes a null-sink"
last=$(numbers_in "$WORK/w1.out" | tail -n1)
check_same "each number is in the file or at the output, once" \
    "$({ numbers_in "$WORK/f" && numbers_in "$WORK/w1.out"; } | sort -n | uniq | wc -l) $(
        { numbers_in "$WORK/f" && numbers_in "$WORK/w1.out"; } | wc -l)" \
    "$((last + 1)) $((last + 1))"
topology "$sequence" "use: file-sink, with: {path: $WORK/g}"
upgrade "and that a file-sink again"

# ---- both die before the first checkpoint of a version: it goes back behind the change
run checkpoint t
check_same "a checkpoint of the file-sink" $? 0
kill -9 "${WORKER_PID[w1]}"
OXBOW_FAILPOINTS=checkpoint.taken=kill OXBOW_FAILPOINTS_WHEN=$WORK/armed start_worker w1
check "it is recovered" wait_for 20 state_is t running
: >"$WORK/armed"
topology "$sequence" "use: null-sink"
run upgrade "$WORK/t.yaml" --yes
is_gone() { ! kill -0 "$1" 2>/dev/null; }
check "the worker dies" wait_for 20 is_gone "${WORKER_PID[w1]}"
kill -9 "$MASTER_PID"
start_master
start_worker w1
check "the null-sink is recovered from the file-sink's checkpoint" wait_for 20 state_is t running
check_same "under its version" "$(oxbow status t | sed -nE 's/^t version ([0-9]+) .*/\1/p')" 5
run checkpoint t
check_same "and saved" $? 0

# ---- a source
seq 1000 >"$WORK/lines"
topology "use: file-source, with: {path: $WORK/lines, rate: 5000}" \
    "use: file-sink, with: {path: $WORK/g}"
run upgrade "$WORK/t.yaml" --yes
check_same "a sequence becomes a file-source" $? 0
check "which is read from its beginning" wait_for 20 state_is t finished
check_same "to its end" "$(grep -c '"line"' "$WORK/g")" 1000

# ---- code that cannot take over, in a thread of its own from now on
cat >"$WORK/keep.c" <<'C'
#include <oxbow/pe.h>
static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)pe, (void)port, (void)in;
    return OXB_OK;
}
static int flush(struct oxb_pe *pe)
{
    (void)pe;
    return OXB_OK;
}
static int snapshot(struct oxb_pe *pe, struct oxb_blob *out)
{
    (void)pe;
    oxb_blob_add(out, "kept", 4);
    return OXB_OK;
}
static int restore(struct oxb_pe *pe, const void *data, size_t bytes, uint32_t version)
{
    (void)data, (void)bytes, (void)version;
    return TAKES ? OXB_OK : oxb_fail(pe, "it cannot take that over");
}
static const struct oxb_port inputs[] = {{"in", "*", "anything"}, {0}};
extern const struct oxb_pe_type oxb_pe;
OXB_EXPORT const struct oxb_pe_type oxb_pe = {
    .abi = OXB_ABI, .name = "keep", .flags = OXB_EFFECTS, .inputs = inputs, .state_version = 1,
    .process = process, .flush = flush, .snapshot = snapshot, .restore = restore,
};
C
for takes in 0 1; do
    cc -shared -fPIC -DTAKES=$takes "$WORK/keep.c" -I"$BIN/include" -o "$WORK/keep$takes.so" ||
        give_up "the plug-in builds"
done
sed 's/^topology: t/topology: beside/' "$WORK/t.yaml" |
    sed "s/numbers: {.*/numbers: {$sequence}/; s/store: {.*/store: {use: null-sink}/" \
        >"$WORK/beside.yaml"
run deploy "$WORK/beside.yaml"
topology "$sequence" "use: ./keep1.so, uid: keep"
run deploy "$WORK/t.yaml" || give_up "deploys again" "$(tail -n1 "$WORK/run.err")"
check "it flows again" wait_for 20 tuples_above t store in 1000
topology "$sequence" "use: ./keep0.so, uid: keep, threads: own"
run upgrade "$WORK/t.yaml" --yes
check "a restore that fails behind the decision fails the topology" wait_for 10 state_is t failed
check "with its reason" grep -q 'it cannot take that over' <(oxbow status t)
check "the worker lives" kill -0 "${WORKER_PID[w1]}"
check_same "and what runs beside it runs" "$(topology_state beside)" running
finish
