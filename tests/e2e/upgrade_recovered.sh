#!/bin/bash
# tests/e2e/upgrade_recovered.sh - a worker dies behind the decision of an upgrade: the new version
# is recovered from a checkpoint, and `oxbow upgrade` ends when it runs, or says that it does
# not yet.
source "$(dirname "$0")/lib.sh"

topology() { # VERSION
    cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: lost
pes:
  numbers: {use: sequence, with: {rate: 5000, keys: 10}, place: {labels: {name: w1}}}
  tally: {use: count, with: {by: key}, parallelism: 2}
  mark: {use: set, with: {fields: {v: $1}}${PLACE:-}}
  store: {use: file-sink, with: {path: $WORK/main, format: tsv}, place: {labels: {name: w1}}}
streams:
  - {from: numbers, to: tally, by: key}
  - {from: tally, to: mark, by: key}
  - {from: mark, to: store}
checkpoint: {every: 500ms}
YAML
}
# Not where it hears GO: the markers of the others may be there first, and it is done by then.
start_dying() { # NAME: once $WORK/armed is there it dies before it says DONE
    OXBOW_FAILPOINTS=send.done.before=kill OXBOW_FAILPOINTS_WHEN=$WORK/armed \
        start_worker "$1" --label "name=$1"
}
upgrade() { # OPTIONS...
    timeout -k 5 90 "$BIN/oxbow" --master "$URL" -o json upgrade "$WORK/t.yaml" --yes "$@" \
        >"$WORK/receipt" 2>"$WORK/upgrade.err"
}
has_version() { cut -f3 "$WORK/main" | grep -qx "$1"; }

start_master
start_worker w1 --label name=w1
start_dying w2
PLACE=', place: {labels: {name: w2}}' topology 1
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
check "lines are committed" wait_for 20 lines_above "$WORK/main" 100

start_worker w3 --label name=w3
PLACE='' topology 1
upgrade
check_same "nothing is bound to the worker that will die" $? 0
topology 2
: >"$WORK/armed"
upgrade
check_same "the upgrade ends with 0" $? 0
check_same "when the new version runs" "$(topology_state lost)" running
rm "$WORK/armed"
check "its receipt says that it was recovered" grep -q '"result": "recovered"' "$WORK/receipt"
check "and the notice why" grep -q 'recovered from a checkpoint.*w2 was lost' "$WORK/upgrade.err"
check "it is the new version" wait_for 20 has_version 2

# ---- nobody is left who may take over what was lost
start_dying w4
PLACE=', place: {labels: {name: w4}}' topology 3
upgrade
check_same "an instance that only one worker may run" $? 0
PLACE=', place: {labels: {name: w4}}' topology 4
: >"$WORK/armed"
upgrade --timeout 3
code=$?
rm "$WORK/armed"
check "it does not end with 0 while it is not recovered: $code" [ $code != 0 ]
check_same "but by what became of it" \
    "$(case $code-$(topology_state lost) in 5-recovering | 1-failed) echo so ;; esac)" so
finish
