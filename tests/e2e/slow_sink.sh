#!/bin/bash
# tests/e2e/slow_sink.sh - a slow sink stops what feeds it and nothing else, in bounded memory.
#
# Two branches in one topology without a common instance: one ends in a PE that takes 2 ms per
# tuple, the other is free.  While the slow one is blocked, no process grows and the free branch
# does all its work; a third shape, over two workers, blocks a link in the same way.
source "$(dirname "$0")/lib.sh"
SECONDS_WATCHED=${SLOW_SINK_S:-5}

start_cluster 2
cat >"$WORK/slow.yaml" <<YAML
oxbow: 1
topology: slow
pes:
  flood: {use: sequence, with: {bytes: 1000}}
  spread: {use: filter, parallelism: 2, with: {field: seq, ge: 0}}
  crawl: {use: delay, parallelism: 2, with: {us: 2000, mode: sleep}, threads: own}
  drop: {use: null-sink}
  free: {use: sequence, with: {count: 2000000}}
  land: {use: file-sink, with: {path: $WORK/free, format: tsv, commit: flush}}
streams:
  - {from: flood, to: spread}
  - {from: spread, to: crawl, by: seq}
  - {from: crawl, to: drop}
  - {from: free, to: land}
YAML
oxbow deploy "$WORK/slow.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
check "the free branch delivers 2,000,000 tuples while the other crawls" \
    wait_for 60 lines_above "$WORK/free" 1999999

names=(master w1 w2)
pids=("$MASTER_PID" "${WORKER_PID[w1]}" "${WORKER_PID[w2]}")
start=() top=()
for i in 0 1 2; do
    start[i]=$(rss_kb "${pids[$i]}")
    top[i]=${start[$i]}
done
until_ms=$(($(now_ms) + SECONDS_WATCHED * 1000))
while [ "$(now_ms)" -lt $until_ms ]; do
    for i in 0 1 2; do
        kb=$(rss_kb "${pids[$i]}")
        [ "${kb:-0}" -le "${top[$i]}" ] || top[i]=$kb
    done
    sleep 0.02
done
for i in 0 1 2; do
    grown=$((top[i] - start[i]))
    check_same "${names[$i]} stays flat (grew $grown kB of ${start[$i]})" $((grown < 16384)) 1
done
sent=$(pe_tuples slow flood out)
check_same "the source was held back (it sent $sent)" $((sent > 0 && sent < 1000000)) 1
check "the slow branch moves" wait_for 10 tuples_above slow crawl in "$(pe_tuples slow crawl in)"
started=$(now_ms)
timeout -k 5 30 "$BIN/oxbow" --master "$URL" stop slow --now >"$WORK/stop.out" 2>"$WORK/stop.err"
check_same "stop --now ends it ($(($(now_ms) - started)) ms)" $? 0
finish
