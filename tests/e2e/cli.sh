#!/bin/bash
# tests/e2e/cli.sh - the program `oxbow` with real processes: run, its ends, exit codes, -o json.
source "$(dirname "$0")/lib.sh"
export TMPDIR=$WORK/tmp
mkdir "$TMPDIR"
unset NO_COLOR

topology() { # NAME COUNT RATE
    cat >"$WORK/$1.yaml" <<YAML
oxbow: 1
topology: $1
pes:
  numbers: {use: sequence, with: {count: $2, rate: $3}}
  show: {use: stdout-sink}
streams:
  - {from: numbers, to: show}
YAML
}
run() { "$BIN/oxbow" run "$@"; }
no_folder() { [ -z "$(ls -A "$TMPDIR")" ]; }
children() { # PID: its children, oldest first
    grep -lE "^PPid:\s+$1$" /proc/[0-9]*/status 2>/dev/null | cut -d/ -f3 | sort -n
}
compact() { tr -d ' \n' <"$1"; }
two_children() { [ "$(children "$1" | wc -l)" = 2 ]; }
all_gone() { # PID...: none of them runs; a zombie that nobody reaps counts as gone
    local pid
    for pid in "$@"; do
        grep -qE '^State:\s+[^Z]' "/proc/$pid/status" 2>/dev/null && return 1
    done
    return 0
}

topology short 1000 1000000
timeout -k 5 30 "$BIN/oxbow" run "$WORK/short.yaml" --workers 2 \
    >"$WORK/short.out" 2>"$WORK/short.err"
check_same "run ends with 0 when the sources have ended" $? 0
check_same "... and stdout has the tuples alone" "$(grep -c '^{"seq"' "$WORK/short.out")" \
    "$(wc -l <"$WORK/short.out")"
check_same "... all of them" "$(wc -l <"$WORK/short.out")" 1000
check "... and the last line on stderr sums up" \
    grep -q '^short finished: 1,000 tuples in, 1,000 out' "$WORK/short.err"
check "... and no folder is left" no_folder

timeout -k 5 30 "$BIN/oxbow" -o json run "$WORK/short.yaml" >"$WORK/short.json" 2>"$WORK/short.err"
check_same "run -o json ends with 0" $? 0
check "... and stdout is one JSON document" grep -qE \
    '^\{.*"state":"finished".*"tuples_in":1000,"tuples_out":1000.*\}$' <(compact "$WORK/short.json")
check "... and the tuples are on stderr" grep -q '^{"seq":999' "$WORK/short.err"

topology long 1000000 1000
spawn drain "$BIN/oxbow" run "$WORK/long.yaml"
pid=$LAST_PID
wait_for 10 lines_above "$WORK/drain.out" 100
kill -INT "$pid"
wait "$pid"
check_same "Ctrl-C drains and ends with 0" $? 0
sent=$(sed -nE 's/^long stopped: ([0-9,]+) tuples in.*/\1/p' "$WORK/drain.err" | tr -d ,)
check_same "... what the source sent has arrived" "$(wc -l <"$WORK/drain.out")" "$sent"
check "... and no folder is left" no_folder

spawn twice "$BIN/oxbow" run "$WORK/long.yaml"
pid=$LAST_PID
wait_for 10 lines_above "$WORK/twice.out" 10
mapfile -t started < <(children "$pid")
kill -INT "$pid"
kill -TERM "$pid"
wait "$pid"
status=$?
check "a second Ctrl-C ends at once" [ $status -le 1 ]
check "... with its children" all_gone "${started[@]}"
check "... and no folder is left" no_folder

spawn crash "$BIN/oxbow" run "$WORK/long.yaml"
pid=$LAST_PID
wait_for 10 lines_above "$WORK/crash.out" 10
kill -9 "$(children "$pid" | tail -n 1)"
wait "$pid"
check_same "a worker that dies ends the run with 1" $? 1
check "... and is named" grep -q '^error: w1 was killed by signal 9' "$WORK/crash.err"

spawn orphan "$BIN/oxbow" run "$WORK/long.yaml"
pid=$LAST_PID
wait_for 10 two_children "$pid"
mapfile -t started < <(children "$pid")
kill -9 "$pid"
wait "$pid" 2>/dev/null
check "kill -9 of run leaves no child" wait_for 5 all_gone "${started[@]}"

"$BIN/oxbow" valdate x >"$WORK/out" 2>"$WORK/out.err"
check_same "an unknown verb ends with 2" $? 2
check "... and the nearest is named" grep -q 'did you mean `validate`' "$WORK/out.err"
"$BIN/oxbow" --master 127.0.0.1:1 status >"$WORK/out" 2>"$WORK/out.err"
check_same "no master ends with 4" $? 4
sed 's/sequence/sequenc/' "$WORK/long.yaml" >"$WORK/wrong.yaml"
run "$WORK/wrong.yaml" >"$WORK/out" 2>"$WORK/out.err"
check_same "a wrong file ends run with 3" $? 3
"$BIN/oxbow" validate "$WORK/wrong.yaml" -o json >"$WORK/out" 2>"$WORK/out.err"
check_same "a wrong file ends validate with 3" $? 3
check "... and -o json has the problem" grep -q '"ok":false.*"line":4,' <(compact "$WORK/out")

# ---- a worker that is started wrongly, or where another one is
wrongly() { # WHAT EXIT_CODE WORD OPTIONS...
    local what=$1 wanted=$2 word=$3
    shift 3
    timeout -k 5 10 "$BIN/oxbow-worker" --master 127.0.0.1:1 --data "$WORK/wrong" "$@" \
        >"$WORK/out" 2>"$WORK/out.err"
    check_same "a worker $what ends with $wanted" $? "$wanted"
    check "... and says why" grep -q -- "$word" "$WORK/out.err"
}
wrongly "with half a label" 2 'write --label KEY=VALUE' --label side
wrongly "with half an address" 2 '"nowhere" is not an address; write HOST:PORT' --master nowhere
wrongly "with an option that is none" 2 'unrecognized option' --speed 5
wrongly "in a folder that cannot be made" 1 'cannot create folder /proc/x' --data /proc/x
spawn first "$BIN/oxbow-worker" --master 127.0.0.1:1 --data "$WORK/taken"
wait_for 10 test -e "$WORK/taken/lock"
wrongly "in a folder of another" 3 "another process uses the folder $WORK/taken; give each" \
    --data "$WORK/taken"
check "a worker that finds no master says so" \
    wait_for 10 grep -q 'agent.disconnected why="cannot connect to 127.0.0.1:1' "$WORK/first.err"
kill -9 "${PIDS[-1]}"
spawn master "$BIN/oxbow-master" --data "$WORK/m" --listen 127.0.0.1:0 --http 127.0.0.1:0
wait_for 10 is_ready master
timeout -k 5 10 "$BIN/oxbow-worker" --master "$(ready_value master control)" --data "$WORK/taken" \
    >"$WORK/out" 2>"$WORK/out.err" &
PIDS+=("$!")
check "when that has died, the folder is free" wait_for 10 grep -q '^ready' "$WORK/out"
timeout -k 5 10 "$BIN/oxbow-master" --data "$WORK/m" --listen 127.0.0.1:0 --http 127.0.0.1:0 \
    >"$WORK/out" 2>"$WORK/out.err"
check_same "a master in a folder of another ends with 3" $? 3
check "... and says why" grep -q "another process uses the folder $WORK/m; stop the other" \
    "$WORK/out.err"

cd "$WORK" || exit 1
"$BIN/oxbow" new pe my-scale >"$WORK/out" 2>"$WORK/out.err"
make -C my-scale SDK="$BIN" test run >"$WORK/make.out" 2>"$WORK/make.err"
check_same "new pe: builds, passes its test and runs" $? 0
"$BIN/oxbow" new topology first >"$WORK/out" 2>"$WORK/out.err"
check_same "new topology: runs" "$(run first.yaml 2>/dev/null | sort)" \
    "$(printf '{"key":%d,"count":20000}\n' 0 1 2 3 4)"
"$BIN/oxbow" new topology first >"$WORK/out" 2>"$WORK/out.err"
check_same "new overwrites nothing" $? 3
finish
