#!/bin/bash
# tests/e2e/ended.sh - what has ended, or has effects outside, is moved and scaled while other parts
# of the topology go on: final results once (R7, R10, R12), lines over TCP once and in order per
# key (R11), and nothing new behind an end (R3).
source "$(dirname "$0")/lib.sh"

topology() { # TALLIES [EXTRA STREAM]
    cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: ends
pes:
  short: {use: sequence, with: {count: ${COUNT:-20000}, rate: ${RATE:-40000}, keys: 500}}
  tally: {use: count, with: {by: key, emit: final}, parallelism: $1}
  finals: {use: file-sink, with: {path: $WORK/finals, format: tsv, commit: flush}}
  long: {use: sequence, with: {rate: 2000, keys: 7}}
  lines: {use: tcp-sink, with: {to: 127.0.0.1:$PORT, format: tsv}, parallelism: ${LINES_N:-2}}
streams:
  - {from: short, to: tally, by: key}
  - {from: tally, to: finals, by: key}
  - {from: long, to: lines, by: key}
${2:-}
YAML
}
run() { timeout -k 5 60 "$BIN/oxbow" --master "$URL" "$@" >"$WORK/out" 2>"$WORK/run.err"; }
done_with() { # WHAT COMMAND...: and the receipts say that nothing was lost
    local what=$1
    shift
    run -o json "$@"
    check_same "$what" $? 0
    if grep -qE '"(lost|duplicated|reordered)": [^0]' "$WORK/out"; then
        not_ok "$what: 0 lost, doubled, out of order" "$(tr -d '\n ' <"$WORK/out")"
    fi
}
finals_once() { # WHAT: one result for each key, and together all that was counted
    check_same "$1" "$(awk '{k[$1]++; n += $2} END {for (x in k) if (k[x] == 1) once++
        print NR, once, n}' "$WORK/finals")" "500 500 ${COUNT:-20000}"
}
flows() { wait_for 20 lines_above "$WORK/lines" $(($(lines_in "$WORK/lines") + 500)); }
pe_state() { # PE: states of its instances, each once
    curl -sS -m 5 "$URL/v1/topologies/ends" | tr -d ' \n' | sed -E "s/.*\"name\":\"$1\",\"use\"//" |
        sed -E 's/"name":"[a-z]+","use".*//' | grep -oE '"state":"[a-z]+"' | sort -u | tr -d '\n'
}
has_ended() { [ "$(pe_state "$1")" = '"state":"ended"' ]; }

spawn tcp "$BIN/tests/e2e/tcplines" "$WORK/lines"
wait_for 10 is_ready tcp || give_up "the receiver starts"
PORT=$(ready_value tcp port)
start_cluster 3

# ---- moved and scaled while it runs: final results once
RATE=10000 topology 2
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
check "lines come over TCP" flows
done_with "running: scaled up" scale ends tally=4
done_with "running: moved away from w1" drain w1
done_with "running: scaled down" scale ends tally=3
run undrain w1
check "the source ends" wait_for 60 has_ended short
check "so does what counts" wait_for 20 has_ended finals
finals_once "every key has one final result, and none is missing"

# ---- moved and scaled when it has ended
RATE=10000
run scale ends tally=5
check_same "ended: no more of them, for the new ones would not have ended" $? 3
check "for that reason" grep -q 'finals.*has ended, and would get tuples' "$WORK/run.err"
for w in w1 w2 w3 w1; do
    done_with "ended: moved away from $w" drain $w
    check "ended: its sink has ended, again" wait_for 20 has_ended finals
    check "and lines come on" flows
    run undrain $w
done
done_with "ended: fewer of them" scale ends tally=1
check "ended: the one that is left has ended" wait_for 20 has_ended tally
finals_once "there is still one final result for every key"

# ---- a sink with effects outside, moved and scaled with its order per key
for n in 3 1 2; do
    done_with "a TCP sink is scaled to $n" scale ends lines=$n
    check "lines come on" flows
done

# ---- what would come behind the end is refused, and nothing has changed
LINES_N=2 topology 1 "  - {from: long, to: tally, by: key, name: late}"
run upgrade "$WORK/t.yaml" --yes
check_same "a new input of what has ended is refused" $? 3
check "with the instance that has ended" grep -q 'tally.*has ended, and would get' "$WORK/run.err"
check "what runs goes on" flows
LINES_N=2 topology 1
identity() { # ids of instances, version; processes of workers
    { curl -sS -m 5 "$URL/v1/topologies/ends" && curl -sS -m 5 "$URL/v1/workers"; } |
        grep -oE '"(id|version|pid|incarnation)": ?[0-9]+' | tr -d ' \n'
}
before=$(identity) count=$(pe_tuples ends lines in)
echo "# a remark" >>"$WORK/t.yaml"
run upgrade "$WORK/t.yaml" --yes
check_same "a remark" $? 0
check "is no change" grep -q '^no change' "$WORK/out"
check_same "instances, version and processes are what they were" "$(identity)" "$before"
check "there are some ($(wc -c <<<"$before") bytes)" [ ${#before} -gt 100 ]
check "and their counters run on" wait_for 10 tuples_above ends lines in "$count"

run stop ends
check_same "stop" $? 0
sent() { [ "$(lines_in "$WORK/lines")" -ge "$(pe_tuples ends long out)" ]; }
check "all lines arrive" wait_for 20 sent
check "each once ($(lines_in "$WORK/lines"))" cmp -s <(cut -f1 "$WORK/lines" | sort -n) \
    <(seq 0 $(($(lines_in "$WORK/lines") - 1)))
check_same "in order per key" \
    "$(awk '{if ($2 in last && $1 <= last[$2]) bad++; last[$2] = $1} END {print bad + 0}' \
        "$WORK/lines")" 0
finals_once "and one final result for every key"
finish
