#!/bin/bash
# tests/e2e/rescale_restart.sh - key groups that have moved are known to a master that is restarted.
#
# numbers -> counts (keyed, 2 instances) -> file.  Scaled to 3, which moves groups away from where
# they were at first; then the master is killed and started again, and the next scaling has to know
# who owns them.  An independent count at the end: each key's counts are 1, 2, 3 ... in order.
source "$(dirname "$0")/lib.sh"

KEYS=2000

topology() { # PARALLELISM
    cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: groups
pes:
  numbers: {use: sequence, with: {rate: 50000, keys: $KEYS}}
  counts: {use: count, parallelism: $1, with: {by: [key]}}
  store: {use: file-sink, with: {path: $WORK/groups, format: tsv, commit: flush}}
streams:
  - {from: numbers, to: counts, by: key}
  - {from: counts, to: store}
YAML
}

upgrade() { # PARALLELISM: the receipt must say that nothing was lost
    topology "$1"
    timeout -k 5 60 "$BIN/oxbow" --master "$URL" -o json upgrade "$WORK/t.yaml" --yes \
        >"$WORK/receipt" 2>"$WORK/upgrade.err"
    local code=$?
    if [ $code = 0 ] && grep -q '"result": "done"' "$WORK/receipt" &&
        [ "$(grep -cE '^  "(lost|duplicated|reordered)": 0,' "$WORK/receipt")" = 3 ]; then
        ok "scaled to $1"
    else
        not_ok "scaled to $1" "exit $code: $(tail -n1 "$WORK/upgrade.err")"
    fi
    check "numbers flow on" \
        wait_for 10 lines_above "$WORK/groups" $(($(lines_in "$WORK/groups") + 20000))
}
restart_master() {
    kill -9 "$MASTER_PID" && wait "$MASTER_PID" 2>/dev/null
    start_master # the same ports and data
    check "the restarted master has it running" wait_for 15 state_is groups running
    up() { [ "$(curl -sS -m 5 "$URL/v1/workers" | grep -o '"state": *"up"' | wc -l)" = 2 ]; }
    check "and both workers are back" wait_for 15 up
}

start_cluster 2
topology 2
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
check "numbers flow" wait_for 20 lines_above "$WORK/groups" 20000
for n in 3 4 2 5; do
    upgrade $n
    restart_master
done
timeout -k 5 30 "$BIN/oxbow" --master "$URL" stop groups >"$WORK/stop.out" 2>"$WORK/stop.err"
check_same "stop" $? 0
awk -F'\t' -v keys=$KEYS '
    { if ($2 != ++n[$1]) bad++ }
    END { for (k = 0; k < keys; k++) {
              if (n[k] != int((NR - 1 - k) / keys) + 1) wrong++ }
          printf "bad=%d wrong=%d\n", bad, wrong }' "$WORK/groups" >"$WORK/checked"
check_same "every count once and in order ($(lines_in "$WORK/groups"))" \
    "$(cat "$WORK/checked")" "bad=0 wrong=0"
finish
