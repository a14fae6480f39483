#!/bin/bash
# tests/e2e/disk.sh - full disks and damaged files: detected, and never a wrong answer.
source "$(dirname "$0")/lib.sh"
source "$ROOT/tests/support/rows.sh"

workers=2 topo="disk" KEYS=10 RATE=', rate: 5000' SLOW='' sides=0 OUT=$WORK/out COMMIT=checkpoint
mkdir -p "$OUT" "$WORK/room"
make_tallies

# ---- a damaged plug-in in a worker's cache
start_cluster 2
CHECKPOINT='{every: 1h, keep: 2}'
topology >"$WORK/t.yaml"
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
check "flows" wait_for 20 tuples_above disk store in 1000
oxbow stop disk --now >"$WORK/stop.out" 2>&1
damaged=0
for f in "$WORK"/data.w*/artifacts/*.so; do
    [ -f "$f" ] || continue
    printf '\xff' | dd of="$f" bs=1 seek=5000 conv=notrunc 2>/dev/null
    damaged=$((damaged + 1))
done
check "a plug-in in the cache is damaged" [ $damaged -gt 0 ]
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err"
check_same "it is deployed again all the same" $? 0
for f in "$WORK"/data.w*/artifacts/*.so; do
    sha256sum "$f" | grep -q "^$(basename "$f" .so) " || damaged=again
done
check "the plug-in was fetched anew" [ "$damaged" != again ]
check "and that is said" grep -q artifact.damaged "$WORK/w1.err" "$WORK/w2.err"
oxbow stop disk --now >"$WORK/stop.out" 2>&1

# ---- no room for checkpoints
failed() {
    curl -sS "$URL/metrics" |
        sed -nE 's/^oxbow_checkpoints_failed_total\{topology="full"\} (.*)/\1/p'
}
failed_more() { [ "$(failed)" -ge "$1" ]; }
no_room() { ! head -c 20000000 /dev/zero 2>/dev/null >"$WORK/room/fill"; }
trap 'umount "$WORK/room" 2>/dev/null; cleanup' EXIT
if mount -t tmpfs -o size=1m none "$WORK/room" 2>/dev/null; then
    CHECKPOINT="{every: 200ms, keep: 2, location: \"file://$WORK/room\"}"
    topo=full
    OUT=$WORK/out2
    mkdir -p "$OUT"
    topology >"$WORK/t.yaml"
    oxbow deploy "$WORK/t.yaml" >"$WORK/deploy2.out" 2>"$WORK/deploy2.err"
    check "checkpoints in a small file system" wait_for 30 lines_above "$OUT/main" 1000
    check "it is full" no_room
    check "checkpoints fail, and are counted" wait_for 30 failed_more 3
    before=$(pe_tuples full store in)
    check "the flow goes on" wait_for 20 tuples_above full store in $((before + 5000))
    check "why is in the status" \
        bash -c "curl -sS '$URL/v1/topologies/full' | grep -q 'No space left'"
    rm "$WORK/room/fill"
    lines=$(lines_in "$OUT/main")
    check "there is room again: lines show again" wait_for 30 lines_above "$OUT/main" $lines
    kill -9 "${WORKER_PID[w1]}" && wait "${WORKER_PID[w1]}" 2>/dev/null
    start_worker w1
    lines=$(lines_in "$OUT/main")
    check "and it can be recovered from" wait_for 40 lines_above "$OUT/main" $((lines + 1000))
    oxbow stop full >"$WORK/stop2.out" 2>&1
    check_same "stops" $? 0
    seqs() { sed -nE 's/.*"seq":([0-9]+).*/\1/p' "$OUT/main" | sort -n; }
    check_same "every number is there once" "$(seqs | uniq | wc -l) $(seqs | tail -n1)" \
        "$(seqs | wc -l) $(($(seqs | wc -l) - 1))"
    umount "$WORK/room"
else
    skip "no room for checkpoints" "no small file system can be mounted here"
fi

# ---- a damaged store
kill "$MASTER_PID" && wait "$MASTER_PID" 2>/dev/null
cp "$WORK/data.master/oxbow.db" "$WORK/db"
at=$(grep -abo 'use: sequence' "$WORK/db" | head -n1 | cut -d: -f1)
printf 'X' | dd of="$WORK/data.master/oxbow.db" bs=1 seek=$((at + 6)) conv=notrunc 2>/dev/null
"$BIN/oxbow-master" --data "$WORK/data.master" --listen 127.0.0.1:0 --http 127.0.0.1:0 \
    >"$WORK/damaged.out" 2>"$WORK/damaged.err"
check "a damaged store: the master does not start" [ $? != 0 ]
check "and says what is damaged" grep -q 'table versions is not as it was written' \
    "$WORK/damaged.err"
cp "$WORK/db" "$WORK/data.master/oxbow.db"
start_master
check "with the copy put back it does" is_ready master
finish
