#!/bin/bash
# tests/e2e/stop_drain.sh - stop drains: what a source has sent arrives; --now does not wait.
source "$(dirname "$0")/lib.sh"

topology() { # NAME: numbers through two hops, one of them slow, into a file
    cat <<YAML
oxbow: 1
topology: $1
pes:
  numbers: {use: sequence, with: {rate: 50000}}
  slow: {use: delay, with: {us: 10}, parallelism: 2}
  store: {use: file-sink, with: {path: $WORK/$1, format: tsv}}
streams:
  - {from: numbers, to: slow}
  - {from: slow, to: store}
YAML
}

stop() { # SECONDS ARGUMENTS...
    local limit=$1
    shift
    timeout -k 5 "$limit" "$BIN/oxbow" --master "$URL" stop "$@" \
        >"$WORK/stop.out" 2>"$WORK/stop.err"
}

for workers in 1 2; do
    start_cluster $workers
    name=drain$workers
    topology $name >"$WORK/$name.yaml"
    oxbow deploy "$WORK/$name.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
        give_up "$workers workers: deploys" "$(tail -n1 "$WORK/deploy.err")"
    check "$workers workers: tuples flow" wait_for 10 lines_above "$WORK/$name" 10000
    stop 30 $name
    check_same "$workers workers: stop ends with 0" $? 0
    check_same "$workers workers: its state" "$(topology_state $name)" stopped
    sent=$(pe_tuples $name numbers out)
    cut -f1 "$WORK/$name" | sort -n >"$WORK/seen"
    check "$workers workers: every number up to the last is there once" \
        cmp -s "$WORK/seen" <(seq 0 $(($(wc -l <"$WORK/seen") - 1)))
    check_same "$workers workers: as many as the source counted" "$(wc -l <"$WORK/seen")" "$sent"

    topology now$workers >"$WORK/now.yaml"
    sed -i 's/us: 10/us: 100000/' "$WORK/now.yaml"
    oxbow deploy "$WORK/now.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err"
    check "$workers workers: the slow one sends" \
        wait_for 10 tuples_above now$workers numbers out 100
    stop 10 now$workers --now
    check_same "$workers workers: stop --now does not wait for the queues" $? 0

    for ((i = 1; i <= workers; i++)); do
        kill -TERM "${WORKER_PID[w$i]}"
        wait "${WORKER_PID[w$i]}"
        check_same "$workers workers: SIGTERM ends worker $i with 0" $? 0
    done
    kill -TERM "$MASTER_PID"
    wait "$MASTER_PID"
    check_same "$workers workers: SIGTERM ends the master with 0" $? 0
    CONTROL='' HTTP=''
    rm -rf "$WORK"/data.*
done
finish
