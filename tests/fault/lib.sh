# tests/fault/lib.sh - one topology whose master and workers are killed while it changes, and what
# must be so afterwards; shared by the kill matrix and the random kills.
# shellcheck shell=bash disable=SC2034
source "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
source "$ROOT/tests/support/rows.sh"

KEYS=40 RATE=', rate: 10000' SLOW='' sides=0 workers=3 topo="fault"
COMMIT=checkpoint
make_tallies

# begin_cluster [NAME=POINT]...: a fresh master and the workers w1..w3; those named die at POINT,
# counted from the moment that the file $WORK/now exists.
begin_cluster() {
    local w
    rm -rf "$WORK"/data.* "$WORK/now" "$OUT"
    mkdir -p "$OUT"
    CONTROL='' HTTP=''
    armed master begin_master "$@"
    for w in w1 w2 w3; do armed $w begin_worker "$@"; done
}
begin_worker() {
    start_worker "$1" --label "name=$1"
    disown "$LAST_PID" # the shell need not tell of its death
}
begin_master() { start_master && disown "$LAST_PID"; }
# armed NAME COMMAND [NAME=POINT]...: COMMAND NAME, with the failpoints meant for it.
armed() {
    local name=$1 command=$2 points='' p
    shift 2
    for p in "$@"; do
        [ "${p%%=*}" != "$name" ] || points=${p#*=}
    done
    [ "$name" != master ] || name=
    if [ -n "$points" ]; then
        points="${points%@*}=kill$(expr "$points" : '.*\(@.*\)')"
        OXBOW_FAILPOINTS=$points OXBOW_FAILPOINTS_WHEN=$WORK/now $command $name
    else
        $command $name
    fi
}
end_cluster() {
    local pid
    for pid in "${WORKER_PID[@]}" "$MASTER_PID"; do
        kill -9 "$pid" 2>/dev/null
        wait_for 10 is_dead "$pid"
    done
    PIDS=()
}
pid_of() { if [ "$1" = master ]; then echo "$MASTER_PID"; else echo "${WORKER_PID[$1]}"; fi; }
is_dead() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:.*Z' "/proc/$1/status"; }
die() { kill -9 "$(pid_of "$1")" 2>/dev/null; }
back() { # NAME: started again, unarmed
    wait_for 10 is_dead "$(pid_of "$1")"
    if [ "$1" = master ]; then begin_master; else begin_worker "$1"; fi
}
version() { curl -sS -m 5 "$URL/v1/topologies/$topo" 2>/dev/null |
    sed -nE 's/^[^[]*"version": ?([0-9]+).*/\1/p'; }
all_joined() { [ "$(curl -sS -m 5 "$URL/v1/workers" | grep -o '"state": *"up"' | wc -l)" = 3 ]; }
flows_on() { # SECONDS: committed lines grow
    local lines
    lines=$(lines_in "$OUT/main")
    wait_for "$1" lines_above "$OUT/main" $((lines + 300))
}

# faults of one cell or walk; the first ones are told
complain() {
    faults=$((faults + 1))
    [ "$faults" -gt 3 ] || echo "# $cell: $1"
}
# judge: drain, and look at every line that was ever written.
judge() {
    local f files=()
    timeout -k 5 60 "$BIN/oxbow" --master "$URL" stop "$topo" >"$WORK/stop.out" 2>&1 ||
        complain "stop: $(tail -n1 "$WORK/stop.out")"
    files=("main=$OUT/main")
    for f in "$OUT"/side.*; do [ ! -f "$f" ] || files+=("side=$f"); done
    "$BIN/tests/e2e/tuples" --keys $KEYS --versions "$WORK/versions" "${files[@]}" \
        >"$WORK/verdict" || complain "$(paste -sd' ' "$WORK/verdict")"
}
# keep_evidence NAME: logs, files and states of a failed cell, where KEEP is set.
keep_evidence() {
    [ "$faults" -gt 0 ] && [ -n "${KEEP:-}" ] || return 0
    mkdir -p "$WORK/kept/$1"
    cp -r "$WORK"/*.err "$WORK"/*.out "$WORK"/versions "$OUT" "$WORK/kept/$1/" 2>/dev/null
    echo "# kept $WORK/kept/$1"
}
