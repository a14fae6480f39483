#!/bin/bash
# tests/e2e/checkpoint_killed.sh - master or worker dies at each durable write and each message of a
# checkpoint and of a recovery; writes and fsyncs fail: in the end every count is in the file once
# and in order, and on the way no line that a reader saw is taken back.
source "$(dirname "$0")/lib.sh"

KEYS=20
cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: killed
pes:
  numbers: {use: sequence, with: {rate: 10000, keys: $KEYS}}
  tally: {use: count, parallelism: 2, with: {by: key}}
  store: {use: file-sink, with: {path: $WORK/killed, format: tsv}}
streams:
  - {from: numbers, to: tally, by: key}
  - {from: tally, to: store}
checkpoint: {every: 100ms, keep: 2}
YAML
grown() { [ "$(stat -c %s "$WORK/killed")" -gt "$1" ]; }
seen_is_kept() {
    cmp -s -n "$(stat -c %s "$WORK/seen")" "$WORK/seen" "$WORK/killed" &&
        cp "$WORK/killed" "$WORK/seen"
}
goes_on() { # WHAT
    seen_is_kept || not_ok "$1: a line that a reader saw is still there"
    local size
    size=$(stat -c %s "$WORK/killed")
    wait_for 30 grown $((size + 2000)) || give_up "$1: output goes on"
    ok "$1: output goes on"
}
is_dead() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:.*Z' "/proc/$1/status"; }
one_is_dead() { is_dead "${WORKER_PID[w1]}" || is_dead "${WORKER_PID[w2]}"; }
# master_at POINT[@N]: the master dies there and is started again.
master_at() {
    kill -TERM "$MASTER_PID" && wait "$MASTER_PID" 2>/dev/null
    OXBOW_FAILPOINTS=${1%@*}=kill$(expr "$1" : '.*\(@.*\)') start_master
    [ -z "${2:-}" ] || restart_worker w1
    wait_for 30 is_dead "$MASTER_PID" || give_up "master at $1: killed"
    ok "master at $1: killed"
    start_master
    goes_on "master at $1"
}
restart_worker() {
    kill -9 "${WORKER_PID[$1]}" 2>/dev/null
    wait "${WORKER_PID[$1]}" 2>/dev/null
    start_worker "$1"
}
# worker_at POINT[@N]: every worker dies there, once, and is started again.
worker_at() {
    local w died=0
    for w in w1 w2; do
        kill -9 "${WORKER_PID[$w]}" && wait "${WORKER_PID[$w]}" 2>/dev/null
        OXBOW_FAILPOINTS=${1%@*}=kill$(expr "$1" : '.*\(@.*\)') start_worker $w
    done
    wait_for 30 one_is_dead || give_up "a worker at $1: killed"
    ok "a worker at $1: killed"
    for w in w1 w2; do restart_worker $w; done
    goes_on "a worker at $1"
}

start_cluster 2
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
: >"$WORK/seen"
goes_on "at first"
for point in send.checkpoint.before send.checkpoint.after heard.checkpoint_ack.before \
    heard.checkpoint_ack.after@3 safefile.renamed@2 store.manifest.before store.manifest.after \
    send.checkpoint_complete.before send.checkpoint_complete.after heard.committed.after; do
    master_at $point
done
for point in store.recover.before store.recover.after send.prepare.after heard.ready.before \
    send.go.after heard.done.before; do
    master_at $point recovery
done
for point in checkpoint.taken@2 checkpoint.saved@3 checkpoint.complete checkpoint.committed \
    segment.commit.before segment.commit.copied segment.commit.after recovery.restores; do
    worker_at $point
done

# A disk that fails now and then: given up, counted, and the next one counts.
kill -TERM "$MASTER_PID" && wait "$MASTER_PID" 2>/dev/null
export OXBOW_FAILPOINTS=safefile.write=fail@9,safefile.fsync=fail@14
OXBOW_FAILPOINTS+=,store.manifest.before=fail@6
start_master
unset OXBOW_FAILPOINTS
failed() {
    curl -sS "$URL/metrics" | grep -q '^oxbow_checkpoints_failed_total{topology="killed"} 3'
}
check "a write, an fsync and a manifest fail: three checkpoints are given up" wait_for 30 failed
goes_on "and then"

timeout -k 5 30 "$BIN/oxbow" --master "$URL" stop killed >"$WORK/stop.out" 2>"$WORK/stop.err"
check_same "stop" $? 0
check "every count once and in order" "$BIN/tests/e2e/countseq" "$WORK/killed" $KEYS 0
finish
