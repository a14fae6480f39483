#!/bin/bash
# tests/e2e/sink_paths.sh - the file of a file-sink changes while it is written, back and forth, by
# upgrades, rollbacks and scaling, and its worker dies meanwhile: over all files each number is
# there once, and what a file once held it holds at the end.
source "$(dirname "$0")/lib.sh"

# topology NAME FILE [PARALLELISM] [PE]: numbers into the file
topology() {
    cat >"$WORK/$1.yaml" <<YAML
oxbow: 1
topology: $1
${CHECKPOINT:-}
pes:
  numbers: {use: sequence, with: {rate: 20000, keys: 16}}
  ${4:-store}: {use: file-sink, with: {path: $WORK/$1.$2, format: tsv}${3:+, parallelism: $3}}
streams:
  - {from: numbers, to: ${4:-store}, by: key}
YAML
}
run() { timeout -k 5 60 "$BIN/oxbow" --master "$URL" "$@" >"$WORK/run.out" 2>"$WORK/run.err"; }
deploy() { run deploy "$WORK/$1.yaml" || give_up "$1: deploys" "$(tail -n1 "$WORK/run.err")"; }
flows_into() { # NAME FILE: lines come
    check "$1: lines come into $2" wait_for 20 lines_above "$WORK/$1.$2" \
        $(($(lines_in "$WORK/$1.$2") + 500))
}
upgrade() { # NAME FILE [PARALLELISM]
    topology "$@"
    run upgrade "$WORK/$1.yaml" --yes
    check_same "$1: to $2" $? 0
}
kill_worker() { # and it is started again
    kill -9 "${WORKER_PID[w1]}"
    start_worker w1
}
# once NAME: what all its files hold; drained and stopped before
once() {
    run stop "$1"
    check_same "$1: stops" $? 0
    local numbers
    numbers=$(cat "$WORK/$1".file* | cut -f1 | sort -n |
        awk '{if ($1 != NR - 1) bad++} END {print bad + 0}')
    check_same "$1: each number once ($(cat "$WORK/$1".file* | wc -l))" "$numbers" 0
    check_same "$1: in order in each file" "$(for f in "$WORK/$1".file*; do
        awk -v f="$f" '($2 in last) && $1 <= last[$2] {bad++} {last[$2] = $1}
            END {if (bad) print f, bad}' "$f"
    done)" ""
    check_same "$1: nothing is left beside them" "$(find "$WORK" -name ".$1.*.oxbow.*")" ""
}

start_cluster 1

# ---- with checkpoints: there, back by a rollback, there again
CHECKPOINT='checkpoint: {every: 200ms}'
topology turns file1
deploy turns
flows_into turns file1
upgrade turns file2
flows_into turns file2
run rollback turns
check_same "turns: rolled back to file1" $? 0
flows_into turns file1
upgrade turns file2
flows_into turns file2
upgrade turns file3
upgrade turns file1
upgrade turns file3
once turns

# ---- its worker dies right behind the change, and once more
topology dies file1
deploy dies
flows_into dies file1
for f in file2 file1 file2 file1; do
    upgrade dies $f
    kill_worker
    flows_into dies $f
done
once dies

# ---- over more instances and fewer: file1, file1.0 and file1.1, file1
topology wide file1
deploy wide
flows_into wide file1
for n in 2 1 2 1; do
    run scale wide store=$n
    check_same "wide: over $n" $? 0
    if [ $n = 2 ]; then flows_into wide file1.0; else flows_into wide file1; fi
done
once wide

# ---- the PE goes and comes back
topology gone file1
deploy gone
flows_into gone file1
topology gone file2 '' other
run upgrade "$WORK/gone.yaml" --yes
check_same "gone: another PE writes to another file" $? 0
flows_into gone file2
run rollback gone
check_same "gone: and the first one is back" $? 0
flows_into gone file1
once gone

# ---- another PE takes the file over: not while the first may still have lines for it
topology heir file1
deploy heir
flows_into heir file1
topology heir file1 '' other
run upgrade "$WORK/heir.yaml" --yes
check_same "heir: a file that another PE is still writing is refused" $? 3
check "heir: and says whose it is" grep -q "'other' would write to .*, for which 'store' may have" \
    "$WORK/run.err"
sed -i 's/other: {use/other: {uid: store, use/' "$WORK/heir.yaml"
run upgrade "$WORK/heir.yaml" --yes
check_same "heir: unless it is the same under another name" $? 0
flows_into heir file1
once heir

# ---- files that cannot be opened are told before anything runs, or changes
topology turns nowhere/file
run deploy "$WORK/turns.yaml"
check "turns: a file that cannot be made fails the deploy" [ $? != 0 ]
check "turns: with its name and the reason" grep -q \
    "'store'; $WORK/turns.nowhere/file: cannot open it for writing on .*: No such file" \
    "$WORK/run.err"
topology heir file1
deploy heir
flows_into heir file1
topology heir nowhere/file
run upgrade "$WORK/heir.yaml" --yes
check "heir: and the upgrade" [ $? != 0 ]
check "heir: with the reason" grep -q "file: cannot open it for writing on .*: No such file" \
    "$WORK/run.err"
flows_into heir file1
source='file-source, uid: other, with: {path: nowhere, format: jsonl}, out: {seq: i64, key: i64}}'
sed -i "s/sequence, with: .*/$source/" "$WORK/heir.yaml"
run upgrade "$WORK/heir.yaml" --yes
check "heir: so does a file that is not there to be read" [ $? != 0 ]
check "heir: with the reason" grep -q "nowhere: cannot open it on .*: No such file" "$WORK/run.err"
flows_into heir file1
run stop heir --now

# ---- a deploy empties the file, as it says
before=$(lines_in "$WORK/turns.file1")
begins_anew() {
    awk -v n="$before" 'NR == 1 {first = $1} END {exit !(NR > 0 && NR < n && first == 0)}' \
        "$WORK/turns.file1"
}
topology turns file1
deploy turns
check "turns: deployed anew, its file begins anew" wait_for 20 begins_anew
run stop turns --now

# ---- without checkpoints
CHECKPOINT=
topology plain file1
deploy plain
flows_into plain file1
for f in file2 file1 file2; do
    upgrade plain $f
    flows_into plain $f
done
once plain
finish
