#!/bin/bash
# tests/e2e/upgrade.sh - a running topology changes and changes back while numbers flow through it.
#
# At the end every number that was sent is in the file once and in order, and no receipt says
# otherwise.  On one worker and on two.
source "$(dirname "$0")/lib.sh"

# topology FILE MIDDLE...: numbers -> (PEs) -> store, one path; BRANCH=1 adds a second branch.
topology() {
    local file=$1 from=numbers pe
    shift
    {
        echo "oxbow: 1" && echo "topology: $name" && echo "pes:"
        echo "  numbers: {use: sequence, with: {rate: 20000}}"
        for pe in "$@"; do echo "  ${pe%%=*}: {use: filter, with: {field: seq, ge: ${pe#*=}}}"; done
        [ -z "${BRANCH:-}" ] || echo "  side: {use: null-sink}"
        echo "  store: {use: file-sink, with: {path: $WORK/$name, format: tsv, commit: flush}}"
        echo "streams:"
        for pe in "$@"; do
            echo "  - {from: $from, to: ${pe%%=*}}"
            from=${pe%%=*}
        done
        echo "  - {from: $from, to: store}"
        [ -z "${BRANCH:-}" ] || echo "  - {from: numbers, to: side}"
    } >"$file"
}

upgrade() { # WHAT: from $WORK/t.yaml; the receipt must say that nothing was lost
    timeout -k 5 60 "$BIN/oxbow" --master "$URL" -o json upgrade "$WORK/t.yaml" --yes \
        >"$WORK/receipt" 2>"$WORK/upgrade.err"
    local code=$?
    if [ $code = 0 ] && grep -q '"result": "done"' "$WORK/receipt" &&
        [ "$(grep -cE '^  "(lost|duplicated|reordered)": 0,' "$WORK/receipt")" = 3 ]; then
        ok "$workers workers: $1"
    else
        not_ok "$workers workers: $1" "exit $code: $(tail -n1 "$WORK/upgrade.err")"
    fi
}

flows() {
    check "$workers workers: numbers flow on" \
        wait_for 10 lines_above "$WORK/$name" $(($(lines_in "$WORK/$name") + 2000))
}

for workers in 1 2; do
    start_cluster $workers
    name=up$workers
    topology "$WORK/t.yaml"
    oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
        give_up "$workers workers: deploys" "$(tail -n1 "$WORK/deploy.err")"
    check "$workers workers: numbers flow" wait_for 10 lines_above "$WORK/$name" 2000

    topology "$WORK/t.yaml" same=0
    oxbow plan "$WORK/t.yaml" >"$WORK/plan.out" 2>"$WORK/plan.err"
    check "$workers workers: the plan names the new PE" grep -q '+ pe same' "$WORK/plan.out"
    upgrade "a PE is inserted"
    flows
    topology "$WORK/t.yaml" same=-1
    upgrade "a parameter is changed"
    flows
    BRANCH=1 topology "$WORK/t.yaml" same=-1
    upgrade "a second branch is added"
    flows
    topology "$WORK/t.yaml" same=-1
    upgrade "the branch is removed"
    topology "$WORK/t.yaml"
    upgrade "the PE is removed"
    flows
    for ((i = 0; i < 10; i++)); do
        topology "$WORK/t.yaml" "a$i=0"
        upgrade "in a row: $((2 * i + 1))"
        topology "$WORK/t.yaml" "a$i=0" "b$i=-1"
        upgrade "in a row: $((2 * i + 2))"
    done
    flows

    echo "# a comment" >>"$WORK/t.yaml"
    oxbow upgrade "$WORK/t.yaml" --yes >"$WORK/same.out" 2>&1
    check "$workers workers: a comment is no change" grep -q '^no change' "$WORK/same.out"
    sed -i '/^# a comment/d; s/use: file-sink,/use: file-sink, threads: own,/' "$WORK/t.yaml"
    oxbow upgrade "$WORK/t.yaml" --yes >"$WORK/refused.out" 2>"$WORK/refused.err"
    check_same "$workers workers: what cannot be done is refused" $? 3
    check "$workers workers: with the reason" \
        grep -q "not possible in this version" "$WORK/refused.err"
    oxbow upgrade "$WORK/t.yaml" --plan 0000 >"$WORK/stale.out" 2>"$WORK/stale.err"
    check_same "$workers workers: another plan than agreed is refused" $? 3
    timeout -k 5 30 "$BIN/oxbow" --master "$URL" rollback $name --to 1 \
        >"$WORK/back.out" 2>"$WORK/back.err"
    check_same "$workers workers: rollback to the first version" $? 0
    flows
    timeout -k 5 30 "$BIN/oxbow" --master "$URL" history $name >"$WORK/history" 2>&1
    check_same "$workers workers: history has them all" "$(grep -c "done" "$WORK/history")" 26

    timeout -k 5 30 "$BIN/oxbow" --master "$URL" stop $name >"$WORK/stop.out" 2>"$WORK/stop.err"
    check_same "$workers workers: stop" $? 0
    cut -f1 "$WORK/$name" >"$WORK/seen"
    check "$workers workers: every number once and in order ($(lines_in "$WORK/seen"))" \
        cmp -s "$WORK/seen" <(seq 0 $(($(lines_in "$WORK/seen") - 1)))
    for pid in "${WORKER_PID[@]}" "$MASTER_PID"; do kill -TERM "$pid" 2>/dev/null; done
    wait 2>/dev/null
    CONTROL='' HTTP=''
    rm -rf "$WORK"/data.*
done
finish
