#!/bin/bash
# tests/e2e/recover_part.sh - only what depends on the loss goes back; who feeds it sends again what
# it has retained.
#
# src -> dear -> tally -> main over three workers, a second sink behind `dear`, and a source
# that has ended.  The worker of
# `tally` and `main` is killed: `dear` sends its log again and goes on, the source does not rewind,
# the second sink notices nothing.  Then the worker of `dear`: the source sends its log again.  Then
# with too small a budget: the sources go back.  Then a second death inside a recovery, and the
# death of who sends again.  All that was ever written is judged from outside.
source "$(dirname "$0")/lib.sh"
source "$ROOT/tests/support/rows.sh"

KEYS=40 OUT=$WORK/out EVERY=250ms TALLY=1
mkdir -p "$OUT"
make_tallies
topology() { # RETAIN
    cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: part
pes:
  src: {use: sequence, with: {rate: 10000, keys: $KEYS}, place: {labels: {n: "1"}}}
  dear: {use: set, with: {fields: {a: 1}}, place: {labels: {n: "2"}}}
  tally: {use: ./tally$TALLY.so, with: {add: 1}, place: {labels: {n: "3"}}}
  main: {use: file-sink, with: {path: $OUT/main, format: jsonl}, place: {labels: {n: "3"}}}
  side: {use: file-sink, with: {path: $OUT/side, format: jsonl}, place: {labels: {n: "2"}}}
  few: {use: sequence, with: {count: 3000, keys: $KEYS}, place: {labels: {n: "1"}}}
  few-out: {use: file-sink, with: {path: $OUT/few, format: tsv}, place: {labels: {n: "3"}}}
streams:
  - {from: few, to: few-out}
  - {from: src, to: dear}
  - {from: dear, to: tally, by: key}
  - {from: dear, to: side}
  - {from: tally, to: main}
checkpoint: {every: $EVERY, keep: 2, retain: $1}
YAML
}
status() { curl -sS -m 5 "$URL/v1/topologies/part" | tr -d ' \n'; }
ids() { # PE...: their instances
    local pe all
    all=$(status | sed 's/{"name":/\n/g')
    for pe in "$@"; do
        sed -nE "s/^\"$pe\",\"use\".*\"instances\":\[(.*)/\1/p" <<<"$all" |
            grep -oE '"id":[0-9]+' | paste -sd' '
    done
}
recoveries() { curl -sS -m 5 "$URL/metrics" | sed -nE 's/^oxbow_recoveries_total\{.*\} //p'; }
recovered() { [ "$(recoveries)" = "$1" ] && state_is part running; }
main_above() { lines_above "$OUT/main" "$1"; }
flows() { wait_for 30 main_above $(($(lines_in "$OUT/main") + 5000)); }
receipt() { # KEY: of the newest
    "$BIN/oxbow" --master "$URL" -o json receipt part 2>/dev/null |
        sed -nE "s/^ *\"$1\": \"?([^\",]*)\"?,?$/\1/p" | head -n1
}
died() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:.*Z' "/proc/$1/status"; }
lose() { # NAME
    kill -9 "${WORKER_PID[$1]}" && wait "${WORKER_PID[$1]}" 2>/dev/null
}
again() { start_worker "$1" --label "n=${1#w}"; }

# round NAME WORKER PE... -- PE...: those before -- keep their instances, those after do not.
round=0
lose_and_check() {
    local name=$1 worker=$2 stay=() go=() kept gone in_before
    shift 2
    while [ "$1" != -- ]; do stay+=("$1") && shift; done
    shift
    go=("$@")
    kept=$(ids "${stay[@]}")
    gone=$(ids "${go[@]}")
    in_before=$(pe_tuples part src out)
    lose "$worker"
    again "$worker"
    round=$((round + 1))
    check "$name: it is recovered" wait_for 30 recovered $round
    check_same "$name: ${stay[*]} stay as they are" "$(ids "${stay[@]}")" "$kept"
    check "$name: ${go[*]} are others" test "$(ids "${go[@]}")" != "$gone"
    check_same "$name: the receipt counts them" "$(receipt instances_touched)" ${#go[@]}
    check "$name: logs were sent again" test "$(receipt resent)" -gt 0
    check_same "$name: and nothing was read again" "$(receipt replayed)" "$(receipt resent)"
    check "$name: the source did not rewind" test "$(pe_tuples part src out)" -ge "$in_before"
    check "$name: it flows" flows
}

start_master
for w in w1 w2 w3; do again $w; done
topology 64MiB
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
check "it flows" flows
check "a source ends" wait_for 30 tuples_above part few-out in 2999
lose_and_check "the last worker" w3 src dear side few -- tally main few-out
lose_and_check "the same once more" w3 src dear side few -- tally main few-out
lose_and_check "the middle one" w2 src few few-out -- dear side tally main

# Budget for less than what passes between two checkpoints.
topology 4KiB
timeout -k 5 60 "$BIN/oxbow" --master "$URL" upgrade "$WORK/t.yaml" --yes >"$WORK/up.out" 2>&1
check_same "the budget is changed" $? 0
check "it flows" flows
lose w3
again w3
round=$((round + 1))
check "over budget: it is recovered" wait_for 30 recovered $round
check_same "over budget: the sources go back" "$(receipt instances_touched)" 6
check_same "over budget: no log is sent again" "$(receipt resent)" 0
check "over budget: it flows" flows
topology 64MiB
timeout -k 5 60 "$BIN/oxbow" --master "$URL" upgrade "$WORK/t.yaml" --yes >"$WORK/up.out" 2>&1
check_same "the budget is changed back" $? 0
check "it flows" flows

# A second death: of who restores, and of who sends again, before and after.  What the first try
# left alone stays where its worker lives: of seven instances three, or five, go back.
for point in recovery.restores:w3:3 resend.pinned:w2:5 resend.before:w2:5 resend.after:w2:5; do
    name=${point%%:*} most=${point##*:} who=${point%:*} who=${who#*:}
    rm -f "$WORK/now"
    if [ "$who" = w2 ]; then # armed from the start, and counting from now on
        lose w2
        OXBOW_FAILPOINTS=$name=kill OXBOW_FAILPOINTS_WHEN=$WORK/now again w2
        round=$((round + 1))
        check "$name: w2 is armed" wait_for 30 recovered $round
        check "$name: it flows" flows
    fi
    touch "$WORK/now"
    lose w3
    if [ "$who" = w3 ]; then
        OXBOW_FAILPOINTS=$name=kill OXBOW_FAILPOINTS_WHEN=$WORK/now again w3
    else
        again w3
    fi
    victim=${WORKER_PID[$who]}
    check "$name: $who dies, too" wait_for 30 died "$victim"
    rm -f "$WORK/now"
    again "$who"
    round=$((round + 1))
    check "$name: it is recovered" wait_for 60 recovered $round
    check_same "$name: no more goes back than must" "$(receipt instances_touched)" "$most"
    check "$name: logs are sent again" test "$(receipt resent)" -gt 0
    check "$name: it flows" flows
done

# A loss before the first checkpoint of a new version: the covering set goes back with it, here what
# runs on w3 alone; who feeds it from outside has a log that reaches back behind the change.
EVERY=1h
topology 64MiB
timeout -k 5 60 "$BIN/oxbow" --master "$URL" upgrade "$WORK/t.yaml" --yes >"$WORK/up.out" 2>&1
check_same "checkpoints are taken when asked for only" $? 0
rm -f "$WORK/now"
lose w3
OXBOW_FAILPOINTS=checkpoint.taken=kill OXBOW_FAILPOINTS_WHEN=$WORK/now again w3
round=$((round + 1))
check "w3 is armed" wait_for 30 recovered $round
timeout -k 5 60 "$BIN/oxbow" --master "$URL" checkpoint part >"$WORK/cp.out" 2>&1
check_same "a checkpoint of the old version" $? 0
check "some pass it" wait_for 30 tuples_above part dear in $(($(pe_tuples part dear in) + 5000))
TALLY=2
topology 64MiB
kept=$(ids src dear side few)
touch "$WORK/now"
victim=${WORKER_PID[w3]}
timeout -k 5 60 "$BIN/oxbow" --master "$URL" upgrade "$WORK/t.yaml" --yes >"$WORK/up.out" 2>&1
check "w3 dies at the first checkpoint of the new version" wait_for 30 died "$victim"
rm -f "$WORK/now"
again w3
round=$((round + 1))
check "behind the change: it is recovered" wait_for 60 recovered $round
check_same "behind the change: who is outside stays as it is" "$(ids src dear side few)" "$kept"
check_same "behind the change: the rest goes back" "$(receipt instances_touched)" 3
check "behind the change: logs were sent again" test "$(receipt resent)" -gt 5000
timeout -k 5 60 "$BIN/oxbow" --master "$URL" checkpoint part >"$WORK/cp.out" 2>&1
check_same "a checkpoint of the new version" $? 0
EVERY=250ms
topology 64MiB
timeout -k 5 60 "$BIN/oxbow" --master "$URL" upgrade "$WORK/t.yaml" --yes >"$WORK/up.out" 2>&1
check_same "checkpoints are taken in time again" $? 0
check "behind the change: it flows" flows
lose_and_check "of the new version" w3 src dear side few -- tally main few-out

timeout -k 5 60 "$BIN/oxbow" --master "$URL" stop part >"$WORK/stop.out" 2>"$WORK/stop.err"
check_same "stop" $? 0
printf 'main a=1 b=%d; side a=1\n' 2 3 >"$WORK/versions"
"$BIN/tests/e2e/tuples" --keys $KEYS --versions "$WORK/versions" "main=$OUT/main" \
    "side=$OUT/side" >"$WORK/verdict"
check_same "every tuple is in both sinks once, in order: $(tail -n1 "$WORK/verdict")" $? 0
check_same "what a source sent before it ended is there once" "$(sort -u "$OUT/few" | wc -l)" 3000
check_same "and nothing else" "$(wc -l <"$OUT/few")" 3000
finish
