#!/bin/bash
# tests/fault/matrix.sh - the kill matrix: a cluster per cell of tests/fault/cells, in which someone
# dies at a durable write or a message; then output is exactly once and in order per key, and one
# version runs: the one that the cell names.
#
#   FAULT=all   every cell; otherwise those marked `*`      FAULT_CELLS=PATTERN   those that match
#   SEED        how much was written before the phase begins differs by it
source "$(dirname "$0")/lib.sh"

SEED=${SEED:-1}
RANDOM=$SEED
ENDS=', place: {labels: {name: w1}}'
CHECKPOINT='{every: 150ms, keep: 2}'
OUT=$WORK/out
declare -A ROLE=([master]=master [ends]=w1 [old]=w2 [new]=w3)

write_version() { # K: the tally goes to the next worker, and everything is stamped K
    local settings=("A=$1" "ADD=$1" "C=$1" MID_AT=w1 "AT=w$((2 + ($1 + 1) % 2))")
    [ "$phase" != removal ] || [ "$1" != 1 ] || settings+=(SIDE=last)
    [ "$phase" != migrate ] || [ "$1" = 1 ] || settings+=(B=4)
    topology "${settings[@]}" >"$WORK/t.yaml"
    look "${settings[@]}" >"$WORK/look"
}
# What begins the phase, in the background where it takes long.
begin_phase() {
    touch "$WORK/now"
    case $phase in
    upgrade | removal | migrate)
        write_version 2
        "$BIN/oxbow" --master "$URL" upgrade "$WORK/t.yaml" --yes >"$WORK/up.out" \
            2>"$WORK/up.err" &
        up=$!
        PIDS+=("$up")
        ;;
    recovery)
        die w2
        wait_for 10 is_dead "${WORKER_PID[w2]}"
        armed w2 begin_worker "$victim=$point"
        ;;
    esac
}
check_upgrade() { # which version runs, does the CLI say so, can what did not happen be done now
    local code after
    wait $up
    code=$?
    wait_for 20 state_is $topo running || complain "does not run: $(topology_state $topo)"
    after=$(version)
    if [ "$after" = "$before" ]; then
        [ "$wanted" != new ] || complain "the old version runs"
        [ $code = 1 ] || [ $code = 4 ] || { [ "$wanted" = either ] && [ $code = 3 ]; } ||
            complain "the CLI ended with $code" # 3: someone died before it was planned
        ! grep -qs '"a":2' "$OUT/main" || complain "output of a version that never was"
        wait_for 20 all_joined || complain "a worker does not join again"
        timeout -k 5 60 "$BIN/oxbow" --master "$URL" upgrade "$WORK/t.yaml" --yes \
            >"$WORK/again.out" 2>"$WORK/again.err" ||
            complain "cannot be done again: $(tail -n1 "$WORK/again.err")"
    else
        [ "$wanted" != old ] || complain "the new version runs"
        [ $code = 0 ] || [ $code = 4 ] || complain "the CLI ended with $code"
    fi
    cat "$WORK/look" >>"$WORK/versions"
}
run_cell() { # PHASE VICTIM POINT VERSION
    local up='' before
    cell="$1, $2 at $3" phase=$1 victim=${ROLE[$2]} point=$3 wanted=$4 faults=0
    begin_cluster "$victim=$point"
    write_version 1
    cp "$WORK/look" "$WORK/versions"
    oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
        give_up "$cell: deploys" "$(tail -n1 "$WORK/deploy.err")"
    wait_for 20 lines_above "$OUT/main" $((500 + RANDOM % 3000)) || give_up "$cell: flows"
    before=$(version)
    begin_phase
    if wait_for 20 is_dead "$(pid_of $victim)"; then
        rm "$WORK/now"
        back $victim
    else
        complain "nobody died"
    fi
    case $phase in upgrade | removal | migrate) check_upgrade ;; esac
    flows_on 30 || complain "output does not go on: $(topology_state $topo)"
    judge
    keep_evidence "${cell//[ ,]/_}"
    check_same "$cell: $wanted, $(tail -n1 "$WORK/verdict")" $faults 0
    end_cluster
}

mapfile -t cells < <(grep -v '^#' "$ROOT/tests/fault/cells" | grep -E -- "${FAULT_CELLS:-.}")
for line in "${cells[@]}"; do
    read -r phase victim point wanted short <<<"$line"
    [ "${FAULT:-}" = all ] || [ -n "${FAULT_CELLS:-}" ] || [ -n "$short" ] || continue
    run_cell "$phase" "$victim" "$point" "$wanted"
done
finish
