# tests/e2e/lib.sh - shared by the end-to-end tests: real processes, deadlines, TAP.
# shellcheck shell=bash
#
# A test sources this, starts what it needs, calls `check`, `ok`, `not_ok`, and ends with `finish`.
# Nothing waits a fixed time: wait_for polls a condition every 20 ms until a deadline.  Whatever was
# started is ended when the script ends, by the process ids kept here.
set -u
export LC_ALL=C
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BIN=${OXBOW_BIN:-$ROOT/build}
HERE=$ROOT/tests/e2e
WORK=$(mktemp -d "${TMPDIR:-/tmp}/oxbow-e2e.XXXXXX")
PIDS=()      # everything started here
LAST_PID=    # of the latest spawn
URL=         # of the master
CONTROL=     # where workers join it
passed=0 failed=0
unset OXBOW_MASTER

cleanup() {
    local pid
    for pid in ${PIDS[@]+"${PIDS[@]}"}; do kill -9 "$pid" 2>/dev/null; done
    wait 2>/dev/null
    if [ "$failed" -gt 0 ] && [ -n "${KEEP:-}" ]; then
        echo "# kept $WORK"
    else
        rm -rf "$WORK"
    fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

ok() { passed=$((passed + 1)) && echo "ok $((passed + failed)) - $1"; }
# not_ok NAME [WHY]: with the last lines that the processes said.
not_ok() {
    failed=$((failed + 1))
    echo "not ok $((passed + failed)) - $1${2:+: $2}"
    local f
    [ "$failed" -le 2 ] || return 0 # the first ones tell the most
    for f in "$WORK"/*.err; do
        if [ -s "$f" ]; then echo "# $(basename "$f"):" && tail -n 5 "$f" | sed 's/^/#   /'; fi
    done
}
# check NAME COMMAND...: ok when the command succeeds.
check() {
    local name=$1
    shift
    if "$@"; then ok "$name"; else not_ok "$name"; fi
}
# check_same NAME GOT WANTED
check_same() {
    if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "got '$2', wanted '$3'"; fi
}
skip() { echo "ok $((passed + failed + 1)) - $1 # SKIP $2"; }
finish() {
    echo "1..$((passed + failed))"
    [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
    exit
}
# give_up NAME: the rest makes no sense without this.
give_up() { not_ok "$@" && finish; }

now_ms() { echo $(($(date +%s%N) / 1000000)); }
# wait_for SECONDS COMMAND...: until it succeeds; 1 when the deadline passes first.
wait_for() {
    local deadline=$(($(now_ms) + $1 * 1000))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(now_ms)" -lt "$deadline" ] || return 1
        sleep 0.02
    done
}

# spawn NAME COMMAND...: in the background, stdout to NAME.out and stderr to NAME.err.
spawn() {
    local name=$1
    shift
    : >"$WORK/$name.out" # what an earlier one said is gone before anybody looks
    "$@" >"$WORK/$name.out" 2>"$WORK/$name.err" </dev/null &
    LAST_PID=$!
    PIDS+=("$LAST_PID")
}
# ready_value NAME KEY: of `ready KEY=VALUE ...`; empty when it is not there (yet).
ready_value() {
    sed -nE "s/^ready .*\b$2=([^ ]+).*/\1/p" "$WORK/$1.out" | head -n1
}
is_ready() { grep -q '^ready ' "$WORK/$1.out"; }

# start_master [OPTIONS...]: sets MASTER_PID, URL, CONTROL.  Its data is kept in $WORK/data.master.
start_master() {
    spawn master "$BIN/oxbow-master" --data "$WORK/data.master" --listen "${CONTROL:-127.0.0.1:0}" \
        --http "${HTTP:-127.0.0.1:0}" "$@"
    MASTER_PID=$LAST_PID
    wait_for 10 is_ready master || give_up "master starts" "no ready line in 10 s"
    CONTROL=$(ready_value master control)
    HTTP=$(ready_value master http)
    URL=http://$HTTP
}
# start_worker NAME [OPTIONS...]: sets WORKER_PID[NAME].
declare -A WORKER_PID=()
start_worker() {
    local name=$1
    shift
    spawn "$name" "$BIN/oxbow-worker" --master "$CONTROL" --name "$name" \
        --data "$WORK/data.$name" --listen 127.0.0.1:0 "$@"
    WORKER_PID[$name]=$LAST_PID
    wait_for 10 is_ready "$name" || give_up "worker $name starts" "no ready line in 10 s"
}
# start_cluster N: a master and the workers w1..wN.
start_cluster() {
    start_master
    local i
    for ((i = 1; i <= $1; i++)); do start_worker "w$i"; done
}
oxbow() { "$BIN/oxbow" --master "$URL" "$@"; }

# topology_state NAME: running, finished, ...; empty when it is unknown.
topology_state() {
    curl -sS -m 5 "$URL/v1/topologies/$1" 2>/dev/null |
        sed -nE 's/^[^[]*"state": ?"([a-z]+)".*/\1/p' | head -n1
}
state_is() { [ "$(topology_state "$1")" = "$2" ]; }
# pe_tuples NAME PE in|out: a counter of one PE; 0 when it is unknown.
pe_tuples() {
    local n
    n=$(curl -sS -m 5 "$URL/v1/topologies/$1" 2>/dev/null | tr -d ' \n' |
        sed -nE "s/.*\"name\":\"$2\",\"use\"[^[]*\"tuples_$3\":([0-9]+).*/\1/p")
    echo "${n:-0}"
}
tuples_above() { [ "$(pe_tuples "$1" "$2" "$3")" -gt "$4" ]; }
lines_in() { if [ -f "$1" ]; then wc -l <"$1"; else echo 0; fi; }
lines_above() { [ "$(lines_in "$1")" -gt "$2" ]; }
rss_kb() { sed -nE 's/^VmRSS:[^0-9]*([0-9]+).*/\1/p' "/proc/$1/status"; }
