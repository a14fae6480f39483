#!/bin/bash
# tests/e2e/state.sh - what becomes of a PE's state and policies when it is changed in place: kept,
# refused, dropped when agreed; errors that were fatal are dropped from one upgrade on.
source "$(dirname "$0")/lib.sh"

cat >"$WORK/tally.c" <<'C'
#include <oxbow/pe.h>

static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    void *slots[1024];
    const unsigned key = (unsigned)oxb_field(in->schema, "key");
    (void)port;
    if (oxb_param_bool(pe, "fail")) {
        return oxb_fail(pe, "as asked");
    }
    oxb_state_rows(oxb_state(pe, "counts"), in, &key, 1, slots);
    struct oxb_batch *out = oxb_derive(pe, 0, in);
    int64_t *n = oxb_new_i64s(pe, out, (unsigned)oxb_field(oxb_out_schema(pe, 0), "n"));
    uint32_t k = 0;
    OXB_EACH (in, i) {
        n[i] = ++*(int64_t *)slots[k++];
    }
    oxb_forward(pe, 0, out);
    return OXB_OK;
}
static const struct oxb_value values[] = {{"count", OXB_I64}, {0}};
static const struct oxb_state_decl states[] = {{"counts", values}, {0}};
static const struct oxb_param params[] = {
    {.name = "fail", .type = OXB_P_BOOL, .fallback = "false", .doc = "on every batch"}, {0}};
static const struct oxb_port outputs[] = {{"out", "*, n: i64", "counted"}, {0}};
extern const struct oxb_pe_type oxb_pe;
OXB_EXPORT const struct oxb_pe_type oxb_pe = {
    .abi = OXB_ABI, .name = "tally", .params = params, .outputs = outputs, .states = states,
    .state_version = STATE, .process = process,
};
C
for v in 1 2; do
    cc -shared -fPIC -O1 -DSTATE=$v "$WORK/tally.c" -I"$BIN/include" -o "$WORK/tally$v.so" ||
        give_up "the plug-in builds"
done
topology() { # USE KEYS OF tally
    cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: state
pes:
  numbers: {use: sequence, with: {rate: 20000, keys: 10}}
  ${NAME:-tally}: {use: ./tally$1.so, uid: tally${2:+, $2}}
  store: {use: file-sink, with: {path: $WORK/main, commit: flush}}
streams:
  - {from: numbers, to: ${NAME:-tally}, by: ${BY:-key}}
  - {from: ${NAME:-tally}, to: store}
YAML
}
upgrade() { # exit code of the upgrade
    timeout -k 5 60 "$BIN/oxbow" --master "$URL" -o json upgrade "$WORK/t.yaml" --yes \
        >"$WORK/receipt" 2>"$WORK/upgrade.err"
    local code=$?
    [ $code != 0 ] || grep -q '"result": "done"' "$WORK/receipt" || code=99
    echo $code
}
flows() { wait_for 10 lines_above "$WORK/main" $(($(lines_in "$WORK/main") + 2000)); }
firsts() { grep -c '"n":1}' "$WORK/main"; } # how often a key was seen for the first time
status_has() { oxbow -o json status state 2>/dev/null | tr -d ' \n' | grep -q "$1"; }

start_cluster 1
topology 1
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" || give_up "deploys"
flows
check_same "ten keys are seen for the first time" "$(firsts)" 10
NAME=counter topology 1
check_same "renamed with uid" "$(upgrade)" 0
flows
check_same "it counts on" "$(firsts)" 10
check "its new name is shown" status_has '"name":"counter"'
topology 2
check_same "another state version without migrate is refused" "$(upgrade)" 3
check "the reason names the versions" grep -q 'version 1.*version 2' "$WORK/upgrade.err"
topology 2 'state: drop'
check_same "unless its state may be dropped" "$(upgrade)" 0
flows
check_same "then all ten keys are new" "$(firsts)" 20
BY=seq topology 2
check_same "other keys are refused for the same reason" "$(upgrade)" 3
BY=seq topology 2 'state: drop'
check_same "unless the state may be dropped: its code stays the same" "$(upgrade)" 0
flows
check_same "then all ten keys are new again" "$(firsts)" 30
topology 2 'state: drop' && upgrade >/dev/null

topology 2 'state: drop, on_error: {then: drop}'
check_same "policy alone" "$(upgrade)" 0
check_same "touches no instance" \
    "$(sed -nE 's/.*"instances_touched": ([0-9]+).*/\1/p' "$WORK/receipt")" 0
topology 2 'state: drop, on_error: {then: drop}, with: {fail: true}'
check_same "now it fails on every batch" "$(upgrade)" 0
check "errors are counted" wait_for 10 status_has '"errors":[1-9]'
check "and it runs on" state_is state running
topology 2 'state: drop, on_error: {then: stop}'
check_same "code and policy at once" "$(upgrade)" 0
check "numbers flow again" flows
topology 2 'state: drop, on_error: {then: stop}, with: {fail: true}'
upgrade >/dev/null
check "with the policy taken back, an error ends it" wait_for 10 state_is state failed
finish
