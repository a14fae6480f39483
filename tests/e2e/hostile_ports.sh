#!/bin/bash
# tests/e2e/hostile_ports.sh - whatever is said to its ports, the cluster goes on working.
#
# Control port of the master, HTTP port, peer port of a worker: random bytes, lying lengths, deep
# nesting, endless headers.  Each talker is sent away in time; the processes neither end nor grow,
# and a topology that ran meanwhile delivers all its tuples.
source "$(dirname "$0")/lib.sh"
HOSTILE=$BIN/tests/e2e/hostile
SEEDS=${HOSTILE_SEEDS:-1 2 3}

start_cluster 1
peer=$(ready_value w1 peers)
[ -n "$peer" ] || give_up "the worker says where its peer port is" "$(cat "$WORK/w1.out")"
cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: meanwhile
pes:
  numbers: {use: sequence, with: {count: 100000, rate: 10000}}
  store: {use: file-sink, with: {path: $WORK/numbers, format: tsv, commit: flush}}
streams:
  - {from: numbers, to: store}
YAML
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
master_kb=$(rss_kb "$MASTER_PID")
worker_kb=$(rss_kb "${WORKER_PID[w1]}")

# sent_away NAME ADDRESS ATTACK [SEED]
sent_away() {
    if "$HOSTILE" "$2" "$3" "${4:-1}" 2>"$WORK/hostile.txt"; then
        ok "$1 port ends $3 ${4:-}"
    else
        not_ok "$1 port ends $3 ${4:-}" "$(cat "$WORK/hostile.txt")"
    fi
}
drips=()
for port in "$CONTROL" "$peer" "$HTTP"; do # these take until the deadlines: beside the others
    "$HOSTILE" "$port" drip 2>/dev/null &
    drips+=($!)
    PIDS+=($!)
done
for attack in lying large arrays nested; do
    sent_away control "$CONTROL" $attack
    sent_away peer "$peer" $attack
done
for seed in $SEEDS; do
    sent_away control "$CONTROL" random "$seed"
    sent_away peer "$peer" random "$seed"
    sent_away HTTP "$HTTP" random "$seed"
done
for attack in brackets header length; do
    sent_away HTTP "$HTTP" $attack
done
names=(control peer HTTP)
for i in 0 1 2; do
    wait "${drips[$i]}"
    check_same "${names[$i]} port ends a connection that says nothing" $? 0
done

check "the master lives" kill -0 "$MASTER_PID"
check "the worker lives" kill -0 "${WORKER_PID[w1]}"
check "the master answers" curl -sSf -m 5 -o /dev/null "$URL/healthz"
grown=$(($(rss_kb "$MASTER_PID") - master_kb))
check_same "the master has not grown by 32 MiB (by $grown kB)" $((grown < 32768)) 1
grown=$(($(rss_kb "${WORKER_PID[w1]}") - worker_kb))
check_same "the worker has not grown by 64 MiB (by $grown kB)" $((grown < 65536)) 1
wait_for 60 state_is meanwhile finished
check_same "the topology finished" "$(topology_state meanwhile)" finished
check_same "all its tuples arrived" "$(cut -f1 "$WORK/numbers" | sort -n | uniq | wc -l)" 100000
finish
