#!/bin/bash
# tests/e2e/stuck.sh - a PE that hangs for ever on a tuple is replaced by an upgrade that names it.
#
# numbers -> first (hangs) -> a -> main on w1, numbers -> b -> side beside it on w2, and a third
# branch of a source of its own.  The upgrade with mended code is decided although `first` never
# cuts; w1 begins anew, with the same process id; what it held is recovered under the new version,
# and nothing else is: an independent program checks that every tuple is in the files once and in
# order, and the third branch, written without commits, would show every tuple that comes again.
source "$(dirname "$0")/lib.sh"

COUNT=40000 AT=15000
cc -shared -fPIC "$HERE/poison.c" -I"$BIN/include" -o "$WORK/poison.so" ||
    give_up "the plug-in builds"
echo "main a=1; side b=1; free c=1" >"$WORK/versions"

topology() { # MODE
    cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: t
pes:
  numbers: {use: sequence, with: {rate: 10000, keys: 10, count: $COUNT}, place: {labels: {n: "2"}}}
  first: {use: ./poison.so, with: {mode: $1, at: $AT}, on_error: {stuck_after: 300ms},
          place: {labels: {n: "1"}}}
  a: {use: set, with: {fields: {a: 1}}, place: {labels: {n: "1"}}}
  b: {use: set, with: {fields: {b: 1}}, place: {labels: {n: "2"}}}
  others: {use: sequence, with: {rate: 10000, keys: 10, count: $COUNT}, place: {labels: {n: "2"}}}
  c: {use: set, with: {fields: {c: 1}}, place: {labels: {n: "2"}}}
  main: {use: file-sink, with: {path: $WORK/t.main}, place: {labels: {n: "1"}}}
  side: {use: file-sink, with: {path: $WORK/t.side}, place: {labels: {n: "2"}}}
  free: {use: file-sink, with: {path: $WORK/t.free, commit: flush}, place: {labels: {n: "2"}}}
streams:
  - {from: numbers, to: first}
  - {from: numbers, to: b}
  - {from: first, to: a}
  - {from: a, to: main}
  - {from: b, to: side}
  - {from: others, to: c}
  - {from: c, to: free}
checkpoint: {every: 300ms, keep: 2}
YAML
}
status_json() { curl -sS -m 5 "$URL/v1/topologies/t" | tr -d ' \n'; }
ids() { # PE: of its instances
    status_json | sed 's/{"name":/\n/g' | sed -nE "s/^\"$1\",\"use\".*\"instances\":\[(.*)/\1/p" |
        grep -oE '"id":[0-9]+' | tr '\n' ' '
}
instance_is() { status_json | grep -q "\"state\":\"$1\""; }
# verb NAME WANTED ARGS...: the verb's exit code.
verb() {
    local name=$1 wanted=$2
    shift 2
    timeout -k 5 60 "$BIN/oxbow" --master "$URL" "$@" >"$WORK/verb.out" 2>"$WORK/verb.err"
    check_same "$name" $? "$wanted"
}
judge() { # FILES...
    local f files=()
    for f in "$@"; do files+=("$f=$WORK/t.$f"); done
    "$BIN/tests/e2e/tuples" --total $COUNT --keys 10 --versions "$WORK/versions" "${files[@]}" \
        >"$WORK/judge.out"
}

start_master
for w in 1 2; do start_worker w$w --label n=$w; done
topology hang
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
check "it is found" wait_for 40 instance_is stuck
free=$(lines_in "$WORK/t.free")
check "a branch of another source flows on" wait_for 20 lines_above "$WORK/t.free" $((free + 2000))
verb "a change that leaves its code alone is refused" 3 scale t first=2
check "and names it" grep -q 'first\[0\] is stuck' "$WORK/verb.err"

pid=${WORKER_PID[w1]}
free_ids=$(ids others)$(ids c)$(ids free)
rest_ids=$(ids numbers)$(ids b)$(ids side)
first_id=$(ids first)
topology none
verb "plan" 0 plan "$WORK/t.yaml"
check "says what an upgrade will do" grep -q 'first\[0\] is stuck: worker w1 begins anew' \
    "$WORK/verb.out"
verb "the upgrade that names it takes its place" 0 -o json upgrade "$WORK/t.yaml" --yes
check "its receipt says what was replaced" \
    grep -q '"pe":"first","instance":0,"worker":"w1"' <(tr -d ' \n' <"$WORK/verb.out")
check "and that three instances went back" grep -q '"instances_touched": 3,' "$WORK/verb.out"
check_same "the other branch has its instances" "$(ids others)$(ids c)$(ids free)" "$free_ids"
check_same "what feeds the stuck one, too" "$(ids numbers)$(ids b)$(ids side)" "$rest_ids"
check "the stuck one is another" test "$(ids first)" != "$first_id"
check "the worker's process has kept its id" kill -0 "$pid"
check "the topology finishes" wait_for 90 state_is t finished
check "every tuple is there once and in order" judge main side free

# The master dies when the decision is written: the one that follows goes on to the new version,
# of the whole topology, and the worker that cannot let go of what hangs begins anew by itself.
rm -f "$WORK"/t.main "$WORK"/t.side "$WORK"/t.free
kill -9 "$MASTER_PID" && wait "$MASTER_PID" 2>/dev/null
export OXBOW_FAILPOINTS=store.rollback.after=kill
start_master
unset OXBOW_FAILPOINTS
COUNT=20000 AT=8000
echo "main a=1; side b=1" >"$WORK/versions"
topology hang
verb "once more" 0 deploy "$WORK/t.yaml"
check "it is found" wait_for 40 instance_is stuck
topology none
timeout -k 5 60 "$BIN/oxbow" --master "$URL" upgrade "$WORK/t.yaml" --yes \
    >"$WORK/verb.out" 2>"$WORK/verb.err" &
PIDS+=("$!")
wait "$MASTER_PID" 2>/dev/null
start_master
check "the topology finishes" wait_for 90 state_is t finished
check "every tuple is there once and in order" judge main side
grep -v '^ok' "$WORK/judge.out" | head -n 5 | sed 's/^/# /'
finish
