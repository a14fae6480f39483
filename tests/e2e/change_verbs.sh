#!/bin/bash
# tests/e2e/change_verbs.sh - what the verbs that change a running topology answer: exit codes, one
# JSON document, --plan, --timeout, the question on a terminal, Ctrl-C.
#
# A change is held in `prepare` by a plug-in that reads a fifo there: the test writes to it.
source "$(dirname "$0")/lib.sh"

cat >"$WORK/gate.c" <<'C'
#include <fcntl.h>
#include <oxbow/pe.h>
#include <unistd.h>

static int prepare(struct oxb_pe *pe)
{
    const char *gate = oxb_param_str(pe, "gate");
    int fd = gate[0] != '\0' ? open(gate, O_RDONLY) : -1; /* until somebody writes */
    if (fd >= 0) {
        close(fd);
    }
    return OXB_OK;
}
static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port;
    oxb_forward(pe, 0, in);
    return OXB_OK;
}
static const struct oxb_port outputs[] = {{"out", "*", "what came in"}, {0}};
static const struct oxb_param params[] = {
    {.name = "gate", .type = OXB_P_STR, .fallback = "''", .doc = "a fifo"}, {0}};
extern const struct oxb_pe_type oxb_pe;
OXB_EXPORT const struct oxb_pe_type oxb_pe = {
    .abi = OXB_ABI, .name = "gate", .params = params, .outputs = outputs, .prepare = prepare,
    .process = process};
C
cc -shared -fPIC "$WORK/gate.c" -I"$BIN/include" -o "$WORK/gate.so" || give_up "the plug-in builds"
mkfifo "$WORK/fifo"
topology() { # V [GATE]
    cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: verbs
pes:
  numbers: {use: sequence, with: {rate: 2000, keys: 10}}
  mark: {use: set, with: {fields: {v: $1}}}
  gate: {use: ./gate.so, with: {gate: '${2:-}'}}
  per: {use: count, parallelism: 2, with: {by: key}}
  end: {use: null-sink}
streams:
  - {from: numbers, to: mark}
  - {from: mark, to: gate}
  - {from: gate, to: per, by: key}
  - {from: per, to: end}
YAML
}
verb() { # WANTED NAME VERB ARGS...: its exit code
    local wanted=$1 name=$2
    shift 2
    timeout -k 5 60 "$BIN/oxbow" --master "$URL" "$@" >"$WORK/out" 2>"$WORK/verb.err" </dev/null
    check_same "$name" $? "$wanted"
}
compact() { tr -d ' \n' <"$1"; }
is_json() { compact "$WORK/out" | grep -qE "$1"; }
is_receipt() { # FROM TO
    is_json "^\{\"topology\":\"verbs\",\"from\":$1,\"to\":$2,\"result\":\"done\",.*\}\$"
}
version() { oxbow -o json history verbs | tr -d ' \n' | grep -oE '"version":[0-9]+' | tail -n1; }
runs() { # VERSION: it is the one that runs
    oxbow history verbs | grep -qE "^ +$1 .* running "
}

start_cluster 2
topology 1
verb 0 "deploy" deploy "$WORK/t.yaml"

verb 0 "plan of the same file ends with 0" plan "$WORK/t.yaml"
check "... and says so" grep -q 'no change' "$WORK/out"
verb 0 "upgrade to the same file ends with 0" -o json upgrade "$WORK/t.yaml" --yes
check "... and says so in JSON" is_json '^\{"topology":"verbs","result":"nochange","version":1\}$'

topology 2
verb 0 "plan -o json ends with 0" -o json plan "$WORK/t.yaml"
check "... and is one document with a digest" is_json '^\{.*"digest":"[0-9a-f]{64}".*\}$'
digest=$(compact "$WORK/out" | sed -nE 's/.*"digest":"([0-9a-f]{64})".*/\1/p')
verb 3 "upgrade --plan with another digest is refused" upgrade "$WORK/t.yaml" --plan "${digest}0"
check "... and names the plan that it is now" grep -q "^error: .*$digest" "$WORK/verb.err"
check "... and nothing has changed" runs 1
verb 0 "upgrade --plan with its digest is done" -o json upgrade "$WORK/t.yaml" --plan "$digest"
check "... stdout is the receipt alone" is_receipt 1 2
check "... what changed" is_json '"changes":\{"pes_added":0,"pes_removed":0,"pes_changed":1,'
check "... in the streams too" is_json '"streams_added":0,"streams_removed":0,"streams_updated":0\}'
for key in lost duplicated reordered replayed predicted_pause_us prepare_ms switch_ms total_ms \
    state_bytes_moved instances_touched workers_touched; do
    check "... $key" is_json "\"$key\":[0-9.]+[,}]"
done
check "... pause_us" is_json '"pause_us":\{"max":[0-9]+,"p99":[0-9]+'
check "... phases" is_json '"phases":\[\{"name":"validate","ms":[0-9.]+\},.*"name":"switch"'
check "... the phases went to stderr" grep -q '^preparing$' "$WORK/verb.err"

topology 3
ask() { # ANSWER: the upgrade on a terminal
    printf '%s\n' "$1" | timeout -k 5 60 script -qec \
        "$BIN/oxbow --master $URL upgrade $WORK/t.yaml" /dev/null >"$WORK/asked"
}
ask n
check_same "on a terminal, not agreed, it is refused" $? 3
check "... the plan was shown" grep -q 'predicted pause' "$WORK/asked"
check "... and nothing has changed" runs 2
ask y
check_same "on a terminal, agreed, it is done" $? 0
check "... and version 3 runs" runs 3

topology 4 "$WORK/fifo"
verb 5 "not decided in time: 5" upgrade "$WORK/t.yaml" --yes --timeout 1
check "... it says what happened" grep -q '^error: the change of verbs was aborted' "$WORK/verb.err"
check "... and nothing has changed" runs 3
: >"$WORK/fifo" # the instance that was given up goes

spawn detach "$BIN/oxbow" --master "$URL" upgrade "$WORK/t.yaml" --yes
preparing() { grep -q '^preparing$' "$WORK/detach.err"; }
wait_for 20 preparing || not_ok "the upgrade prepares"
kill -INT "$LAST_PID"
wait "$LAST_PID"
check_same "Ctrl-C ends the watching with 130" $? 130
check "... and says how to see the rest" \
    grep -q '^detached: .* oxbow receipt verbs 5' "$WORK/detach.err"
check "... the upgrade is still under way" runs 3
: >"$WORK/fifo"
check "... and is done without it" wait_for 20 runs 5
verb 0 "its receipt is there" receipt verbs 5
verb 3 "a receipt that is not there" receipt verbs 99
verb 2 "a version that is no number" receipt verbs five
verb 3 "a topology that is not there" receipt nobody

topology 6
sed -i 's/to: end}/to: nowhere}/' "$WORK/t.yaml"
verb 3 "a wrong file is refused" -o json upgrade "$WORK/t.yaml" --yes
check "... with its place" grep -qE '^.*t.yaml:[0-9]+:[0-9]+: ' "$WORK/verb.err"
verb 3 "... by plan too" plan "$WORK/t.yaml"
verb 3 "a file that is not there is refused" upgrade "$WORK/none.yaml" --yes
verb 2 "no file at all is misuse" upgrade
verb 2 "a time that is none is misuse" upgrade "$WORK/t.yaml" --timeout soon
verb 2 "two ways back are misuse" rollback verbs --to 1 --to-checkpoint

verb 0 "scale is done" -o json scale verbs per=3
check "... and ends with its receipt" is_receipt 5 6
verb 0 "scale to what there is changes nothing" scale verbs per=3
verb 3 "a PE that is not there" scale verbs nobody=3
verb 2 "a parallelism that is none" scale verbs per=0
verb 0 "rollback is done" -o json rollback verbs --to 3
check "... and ends with its receipt" is_receipt 6 7
verb 3 "a version that is not there" rollback verbs --to 99
verb 3 "without checkpoints none can be gone back to" rollback verbs --to-checkpoint
verb 0 "drain is done" -o json drain w2
check "... and ends with a list of receipts" is_json '^\[\{"topology":"verbs","from":7,"to":8,.*\]$'
verb 0 "undrain is done" undrain w2
verb 3 "a worker that is not there" drain w9
verb 0 "history -o json" -o json history verbs
check "... is one list of eight versions" is_json '^\[\{"version":1,.*\{"version":8,.*\]$'
check_same "... the newest last" "$(version)" '"version":8'

URL=http://127.0.0.1:1
for v in "plan $WORK/t.yaml" "upgrade $WORK/t.yaml --yes" "rollback verbs" "scale verbs per=1" \
    "history verbs" "receipt verbs" "drain w1" "undrain w1"; do
    topology 6
    # shellcheck disable=SC2086 # words
    verb 4 "no master: ${v%% *} ends with 4" $v
done
finish
