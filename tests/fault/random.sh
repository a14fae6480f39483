#!/bin/bash
# tests/fault/random.sh - random kills during random upgrades, with a checkpoint every 500 ms.
#
# One topology goes from row to row of tests/support/rows.sh (sets of them too); during each change
# the master, a worker, or both are killed at a random moment.  In the end every number is in the
# committed output once, in order per key, never of an older version after a newer one, and the
# state is as counted by hand.
#
#   KILLS (30)   SEED   the failed walk is told again by its seed, as far as timing allows
source "$(dirname "$0")/lib.sh"

KILLS=${KILLS:-30} SEED=${SEED:-$RANDOM}
RANDOM=$SEED
CHECKPOINT='{every: 500ms, keep: 3}'
OUT=$WORK/out
cell="SEED=$SEED KILLS=$KILLS" faults=0 kills=0 upgrades=0 aborted=0 has_side=no
for name in "${!MOVING[@]}"; do ROW[$name]=${MOVING[$name]}; done
name_rows

next_settings() { # fills `wanted`: of one row or two, any of their steps
    local k steps
    wanted=()
    for ((k = RANDOM % 2; k >= 0; k--)); do
        IFS=';' read -ra steps <<<"${ROW[${NAMES[RANDOM % ${#NAMES[@]}]}]}"
        # shellcheck disable=SC2206 # settings are words
        wanted+=(${steps[RANDOM % ${#steps[@]}]})
    done
}
kill_some() {
    local victims=("w$((RANDOM % 3 + 1))") v
    case $((RANDOM % 4)) in
    0) victims=(master) ;;
    1) victims+=(master) ;;
    esac
    what=${victims[*]}
    for v in "${victims[@]}"; do die "$v"; done
    for v in "${victims[@]}"; do
        [ "$v" != master ] || back master # workers want one to be ready
    done
    for v in "${victims[@]}"; do
        [ "$v" = master ] || back "$v"
        kills=$((kills + 1))
    done
}
one_change() {
    local before after up what side
    wait_for 30 all_joined || complain "a worker does not join again"
    next_settings
    side=no
    [[ " ${wanted[*]}" != *" SIDE="* ]] || side=yes
    [ $side = no ] || [ $has_side = yes ] || sides=$((sides + 1)) # a new sink begins a file
    topology "${wanted[@]}" >"$WORK/t.yaml"
    before=$(version)
    timeout -k 5 90 "$BIN/oxbow" --master "$URL" upgrade "$WORK/t.yaml" --yes \
        >"$WORK/up.out" 2>"$WORK/up.err" &
    up=$!
    sleep "0.$((RANDOM % (RANDOM % 2 ? 10 : 2)))$((RANDOM % 10))" # a random moment, not a wait
    kill_some
    wait $up
    upgrades=$((upgrades + 1))
    wait_for 40 state_is $topo running ||
        give_up "$cell: runs after change $upgrades" "$(topology_state $topo), killed $what"
    after=$(version)
    if [ "$after" != "$before" ]; then
        look "${wanted[@]}" >>"$WORK/versions"
        has_side=$side
    else
        aborted=$((aborted + 1))
    fi
    flows_on 40 || give_up "$cell: output goes on" "change $upgrades (${wanted[*]}), killed $what"
    [ -z "${TALK:-}" ] || echo "# $upgrades: ${wanted[*]}; killed $what; $before -> $after"
}

echo "# $cell"
begin_cluster
topology >"$WORK/t.yaml"
look >"$WORK/versions"
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
wait_for 20 lines_above "$OUT/main" 1000 || give_up "flows"
while [ $kills -lt "$KILLS" ] && [ $faults = 0 ]; do one_change; done
judge
keep_evidence random
check_same "$cell: $kills kills, $upgrades upgrades, $aborted of them not made; \
$(tail -n1 "$WORK/verdict")" $faults 0
end_cluster
finish
