#!/bin/bash
# tests/e2e/matrix.sh - every kind of change, on one and three workers, idle, loaded and held up.
#
# One topology runs through a walk of changes, one upgrade each; uniquely numbered tuples, stamped
# by each PE on their way with its version, are judged at the end by tuples.c: lost, doubled,
# reordered per key, old and new mixed, keyed state not as counted by hand.  Every receipt must say
# the same.  Sources and sinks that no change names must be the instances that they were.
#
# The rows are in tests/support/rows.sh.  Loaded, each row is done alone: base, row, base, row, ...;
# otherwise every third row, one after another, so that each upgrade undoes one and does the next.
# MATRIX=sets does both with all rows in every column, and goes through random sets of rows at once
# (MATRIX_SEED); MATRIX=all goes from every row to every other one as well, which takes an hour and
# more a column.  MATRIX_ROWS picks rows by a pattern, MATRIX_CELLS columns ("3 loaded").
source "$(dirname "$0")/lib.sh"

KEYS=60
# shellcheck source=tests/support/rows.sh
source "$ROOT/tests/support/rows.sh"
make_tallies

# ---- one upgrade
faults=0
complain() { # WHAT: the first few of a walk
    faults=$((faults + 1))
    [ "$faults" -gt 3 ] || echo "# $cell: $1"
}
instances_of() { # PE...: their ids, as the master knows them
    local pe doc rest
    doc=$(curl -sS -m 5 "$URL/v1/topologies/$topo" | tr -d ' \n')
    for pe in "$@"; do
        rest=${doc#*\"name\":\"$pe\",\"use\"} && rest=${rest#*\"instances\":[}
        echo "$pe ${rest%%,\"index\"*}"
    done
}
go_to() { # WHAT SETTINGS...
    local what=$1 lines had=$has_side
    shift
    has_side=no
    [[ " $*" == *" SIDE="* ]] && has_side=yes
    [ $had = no ] && [ $has_side = yes ] && sides=$((sides + 1)) # a new sink begins a file
    topology "$@" >"$WORK/t.yaml"
    ! cmp -s "$WORK/t.yaml" "$WORK/now.yaml" || return # on one worker nothing goes to another
    cp "$WORK/t.yaml" "$WORK/now.yaml"
    timeout -k 5 60 "$BIN/oxbow" --master "$URL" -o json upgrade "$WORK/t.yaml" --yes \
        >"$WORK/receipt" 2>"$WORK/upgrade.err" ||
        { complain "$what: $(tail -n1 "$WORK/upgrade.err")" && return; }
    [ "$(grep -cE '^  "(lost|duplicated|reordered)": 0,|"result": "done"' "$WORK/receipt")" = 4 ] ||
        complain "$what: $(tr -d '\n ' <"$WORK/receipt")"
    look "$@" >>"$WORK/versions"
    upgrades=$((upgrades + 1))
    [ "$(instances_of numbers first store)" = "$named" ] || complain "$what: other instances"
    lines=$(lines_in "$OUT/main")
    wait_for 20 lines_above "$OUT/main" $((lines + FLOW)) || complain "$what: nothing flows"
}

# ---- walks
do_row() { # NAME [WHAT]
    local steps step
    IFS=';' read -ra steps <<<"${ROW[$1]}"
    for step in "${steps[@]}"; do
        # shellcheck disable=SC2086 # settings are words
        go_to "${2:-$1}" $step
    done
}
walk_alone() {
    local name
    for name in "${NAMES[@]}"; do
        do_row "$name"
        go_to "back from: $name"
    done
}
walk_on() { # the short form: every third row, other ones in each column
    local k by=3
    [ -z "${MATRIX:-}" ] || by=1
    for ((k = cells % by; k < ${#NAMES[@]}; k += by)); do do_row "${NAMES[k]}"; done
}
walk_pairs() { # from row to row, each order once
    local from to
    for from in "${NAMES[@]}"; do
        for to in "${NAMES[@]}"; do
            [ "$from" != "$to" ] || continue
            do_row "$from"
            do_row "$to" "$from => $to"
        done
    done
}
walk_sets() { # 100 random sets of up to four rows
    local i k sets
    RANDOM=${MATRIX_SEED:-$workers}
    for ((i = 0; i < 100; i++)); do
        sets=
        for ((k = RANDOM % 4; k >= 0; k--)); do
            sets+=" ${ROW[${NAMES[RANDOM % ${#NAMES[@]}]}]%%;*}"
        done
        # shellcheck disable=SC2086
        go_to "set$sets" $sets
    done
}

run_cell() { # NAME WALK
    topo=m$((cells += 1)) faults=0 upgrades=0 sides=0 has_side=no
    cell=$1 OUT=$WORK/$topo
    mkdir -p "$OUT"
    topology >"$WORK/t.yaml"
    oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
        give_up "$cell: deploys" "$(tail -n1 "$WORK/deploy.err")"
    cp "$WORK/t.yaml" "$WORK/now.yaml"
    look >"$WORK/versions"
    wait_for 10 lines_above "$OUT/main" 1 || give_up "$cell: flows"
    named=$(instances_of numbers first store)
    [ -n "${NAMES+set}" ] || add_moving_rows
    "$2"
    timeout -k 5 60 "$BIN/oxbow" --master "$URL" stop "$topo" >"$WORK/stop.out" 2>&1 ||
        complain "stop: $(tail -n1 "$WORK/stop.out")"
    local i files=("main=$OUT/main")
    for ((i = 1; i <= sides; i++)); do files+=("side=$OUT/side.$i"); done
    "$BIN/tests/e2e/tuples" --total "$(pe_tuples "$topo" numbers out)" --keys $KEYS \
        --versions "$WORK/versions" "${files[@]}" >"$WORK/verdict" ||
        complain "$(paste -sd' ' "$WORK/verdict")"
    check_same "$cell: $upgrades upgrades, $(tail -n1 "$WORK/verdict")" $faults 0
    [ "$faults" -gt 0 ] && [ -n "${KEEP:-}" ] || rm -rf "$OUT"
}

# Can state move here?  Asked once, of a running topology.
add_moving_rows() {
    local name
    topology TALLIES=2 >"$WORK/t.yaml"
    if oxbow plan "$WORK/t.yaml" 2>&1 | grep -q 'not possible in this version'; then
        skip "rows that move state" "not possible in this version"
    else
        for name in "${!MOVING[@]}"; do ROW[$name]=${MOVING[$name]}; done
    fi
    name_rows
}

cells=0
for workers in 1 3; do
    start_master
    for ((w = 1; w <= workers; w++)); do start_worker "w$w" --label "name=w$w"; done
    for load in idle loaded back-pressured; do
        [[ "$workers $load" == "${MATRIX_CELLS:-$workers $load}" ]] || continue
        case $load in
        idle) RATE=', rate: 500' SLOW='' FLOW=2 ;;
        loaded) RATE=', rate: 50000' SLOW='' FLOW=1000 ;;
        back-pressured) RATE='' SLOW=1 FLOW=1000 ;;
        esac
        here="$workers workers, $load"
        [ $load != loaded ] && [ -z "${MATRIX:-}" ] || run_cell "$here, each alone" walk_alone
        [ $load = loaded ] && [ -z "${MATRIX:-}" ] || run_cell "$here, one after the other" walk_on
        [ -n "${MATRIX:-}" ] || continue
        run_cell "$here, sets of them" walk_sets
        [ "$MATRIX" = all ] || continue
        run_cell "$here, from each to each" walk_pairs
    done
    for pid in "${WORKER_PID[@]}" "$MASTER_PID"; do kill -TERM "$pid" 2>/dev/null; done
    wait 2>/dev/null
    CONTROL='' HTTP=''
    rm -rf "$WORK"/data.*
done
finish
