#!/bin/bash
# tests/e2e/infer_live.sh - a PE that runs a model changes under load: other shapes and streams
# around it, another device, other batches, another model at full load, ones with a Loop and a Scan;
# and its device is lost.
#
# Every tuple carries its number: 0, 1, 2 ... must come out, each once, in order, each with the
# result of one version, and never of an older one after a newer one.
source "$(dirname "$0")/lib.sh"

make_model() { "$BIN/tests/e2e/makemodel" "$@"; }

# change NAME FILE: an upgrade; it must be done, with nothing lost, doubled or reordered.
change() {
    timeout -k 5 60 "$BIN/oxbow" --master "$URL" -o json upgrade "$2" --yes \
        >"$WORK/receipt" 2>"$WORK/upgrade.err"
    check_same "$1" "$? $(sed -nE 's/.*"result": "([a-z]+)".*/\1/p' "$WORK/receipt") $(
        grep -cE '^  "(lost|duplicated|reordered)": 0,' "$WORK/receipt")" "0 done 3"
}

# more FILE TOPOLOGY: another thousand lines came.
more() {
    local from
    from=$(lines_in "$1")
    check "tuples flow on" wait_for 20 lines_above "$1" $((from + 1000))
}

# judge FILE: seq, key and results of each line; versions only rise.  Prints the version changes.
judge() {
    local head='"seq": ?([0-9]+), ?"key": ?([0-9]+), ?"at": ?"[^"]*"'
    local tail='"scores": ?\[([^]]*)\](, ?"version": ?([0-9]+))?'
    sed -E "s/^\\{$head, ?$tail\\}\$/\\1 \\2 \\3 v\\5/" "$1" |
        tr ',' ' ' | awk '
        function bad(why) { print "line " NR ": " why ": " $0; failed = 1; exit }
        {
            if ($1 != NR - 1) bad("a number is missing, doubled or out of order")
            n = NF - 3; w = 0; k = $2
            for (i = 3; i < NF; i++) {
                if (n == 4 && $i != 2 * k + 1) bad("a wrong result")
                if (n == 3 && $i != 3 * k) bad("a wrong result")
            }
            for (i = 5; n == 1 && i <= 13; i += 2) if ($3 == i * k) w = i
            if (n == 1 && k > 0 && w == 0) bad("a result of no model")
            if (n == 2 || n > 4) bad("not a result")
            if (n == 1 && k == 0) next
            form = n "/" w "/" $NF
            if (form != last && seen[form]++) bad("an older version after a newer one")
            if (form != last) print form
            last = form
        }
        END { exit failed }' >"$WORK/judge"
    local result=$?
    tail -n 1 "$WORK/judge" | sed 's/^/# /'
    return $result
}

# ---- shapes, device, batches
first() { # the first version: four numbers in, four out
    cat <<YAML
oxbow: 1
topology: shapes
pes:
  numbers: {use: sequence, with: {rate: 8000, keys: 1000}}
  net:
    use: infer
    with:
      model: affine.onnx
      in: {x: [key, key, key, key]}
      out: {scores: y}
      batch: {max: 32, delay: 2ms}
      device: reference
  store: {use: file-sink, with: {path: shapes.jsonl, commit: flush}}
streams:
  - {from: numbers, to: net}
  - {from: net, to: store}
YAML
}
second() { # DEVICE BATCH: two in, three out, and a PE more behind it
    cat <<YAML
oxbow: 1
topology: shapes
pes:
  numbers: {use: sequence, with: {rate: 8000, keys: 1000}}
  net:
    use: infer
    with:
      model: three.onnx
      in: {p: [key, seq]}
      out: {scores: q}
      batch: $2
      device: $1
  mark: {use: set, with: {fields: {version: 2}}}
  store: {use: file-sink, with: {path: shapes.jsonl, commit: flush}}
streams:
  - {from: numbers, to: net}
  - {from: net, to: mark}
  - {from: mark, to: store}
YAML
}

start_cluster 1
make_model "$WORK/affine.onnx" affine 2 1
make_model "$WORK/three.onnx" three 3
first >"$WORK/shapes.yaml"
oxbow deploy "$WORK/shapes.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
more "$WORK/shapes.jsonl"
second reference '{max: 32, delay: 2ms}' >"$WORK/shapes.yaml"
change "a model of other shapes, with other streams behind it, in one change" "$WORK/shapes.yaml"
more "$WORK/shapes.jsonl"
second cpu '{max: 32, delay: 2ms}' >"$WORK/shapes.yaml"
change "another device" "$WORK/shapes.yaml"
more "$WORK/shapes.jsonl"
second any '{max: 32, delay: 2ms}' >"$WORK/shapes.yaml"
change "whatever device there is" "$WORK/shapes.yaml"
more "$WORK/shapes.jsonl"
second any '{max: 128}' >"$WORK/shapes.yaml"
change "other batches" "$WORK/shapes.yaml"
more "$WORK/shapes.jsonl"
oxbow stop shapes >/dev/null 2>&1
check "each number has one result, in order" judge "$WORK/shapes.jsonl"
check_same "of the first version, then of the second" "4/0/v 3/0/v2" \
    "$(tr '\n' ' ' <"$WORK/judge" | sed 's/ $//')"

# ---- another model at full load: the source is only held by the model
load() { # MODEL DEVICE
    cat <<YAML
oxbow: 1
topology: load
pes:
  numbers: {use: sequence, with: {keys: 1000}}
  net:
    use: infer
    with:
      model: $1
      in: {x: [key, key, key, key]}
      out: {scores: y}
      batch: {max: 32}
      device: $2
  store: {use: file-sink, with: {path: $3, commit: flush}}
streams:
  - {from: numbers, to: net}
  - {from: net, to: store}
YAML
}
# metric NAME LABEL [TOPOLOGY]: summed over all that have both.
metric() {
    curl -sS -m 5 "$URL/metrics" | grep "^oxbow_infer_$1{" | grep -F "$2" |
        grep -F "${3:+topology=\"$3\"}" |
        awk '{ n += $NF } END { printf "%.17g\n", n }'
}
# metric_above NAME LABEL THAN [TOPOLOGY]
metric_above() {
    awk -v n="$(metric "$1" "$2" "${4:-}")" -v than="$3" 'BEGIN { exit !(n > than) }'
}

make_model "$WORK/five.onnx" deep 5
make_model "$WORK/seven.onnx" deep 7
load five.onnx reference load.jsonl >"$WORK/load.yaml"
oxbow deploy "$WORK/load.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
more "$WORK/load.jsonl"
five=$(sha256sum <"$WORK/five.onnx" | cut -c1-12)
check "inferences are counted by model and device" wait_for 10 \
    metric_above batch_size_count "model=\"$five\",device=\"reference\"" 0
batch_us=$(awk -v s="$(metric device_seconds_total reference)" \
    -v n="$(metric batch_size_count reference)" 'BEGIN { printf "%.0f", 1e6 * s / n }')
load seven.onnx reference load.jsonl >"$WORK/load.yaml"
change "another model at full load" "$WORK/load.yaml"
echo "# a batch took $batch_us us, the pause was $(
    tr -d ' \n' <"$WORK/receipt" |
        sed -nE 's/.*"pause_us":\{[^}]*"max":([0-9]+).*/\1/p') us at most"
more "$WORK/load.jsonl"
oxbow stop load >/dev/null 2>&1
check "each number has one result, in order" judge "$WORK/load.jsonl"
check_same "of the first model, then of the second" "1/5/v 1/7/v" \
    "$(tr '\n' ' ' <"$WORK/judge" | sed 's/ $//')"

# ---- to a model with a Loop, to one with a Scan, and back to one without, at full load
make_model "$WORK/loop.onnx" loop 11
make_model "$WORK/scan.onnx" scan 13
bodies() { load "$1" any bodies.jsonl | sed 's/topology: load/topology: bodies/'; }
bodies five.onnx >"$WORK/bodies.yaml"
oxbow deploy "$WORK/bodies.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
more "$WORK/bodies.jsonl"
for step in "loop a model with a Loop" "scan from a Loop to a Scan" "seven back to one without"; do
    bodies "${step%% *}.onnx" >"$WORK/bodies.yaml"
    change "${step#* }, at full load" "$WORK/bodies.yaml"
    more "$WORK/bodies.jsonl"
done
oxbow stop bodies >/dev/null 2>&1
check "each number has one result, in order" judge "$WORK/bodies.jsonl"
check_same "of each model in turn" "1/5/v 1/11/v 1/13/v 1/7/v" \
    "$(tr '\n' ' ' <"$WORK/judge" | sed 's/ $//')"
check "and nothing is missing at the end" \
    test "$(pe_tuples bodies numbers out)" = "$(lines_in "$WORK/bodies.jsonl")"

if ! "$BIN/oxbow" model check "$WORK/five.onnx" --device cpu >"$WORK/check.out" 2>&1 ||
    grep -q '^reference  *Gemm' "$WORK/check.out"; then
    skip "a lost device" "no OpenCL device for processors here"
    finish
fi
kill "${WORKER_PID[w1]}"

# ---- two batches under way: another model at full load, then the device is lost with both
OXBOW_CL_AS_GPU=pthread OXBOW_FAILPOINTS=infer.step=fail@20 \
    OXBOW_FAILPOINTS_WHEN=$WORK/lose start_worker gpu
load five.onnx gpu gpu.jsonl | sed 's/topology: load/topology: gpu/' >"$WORK/gpu.yaml"
if oxbow deploy "$WORK/gpu.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" &&
    wait_for 60 metric_above batch_size_count 'device="gpu"' 0 gpu; then
    load seven.onnx gpu gpu.jsonl | sed 's/topology: load/topology: gpu/' >"$WORK/gpu.yaml"
    change "another model at full load, two batches under way" "$WORK/gpu.yaml"
    more "$WORK/gpu.jsonl"
    touch "$WORK/lose"
    check "the model goes on with the next device" wait_for 60 \
        metric_above batch_size_count 'device="cpu"' 20 gpu
    oxbow stop gpu >/dev/null 2>&1
    check "each number has one result, in order" judge "$WORK/gpu.jsonl"
    check_same "of the first model, then of the second" "1/5/v 1/7/v" \
        "$(tr '\n' ' ' <"$WORK/judge" | sed 's/ $//')"
    check "and nothing is missing at the end" \
        test "$(pe_tuples gpu numbers out)" = "$(lines_in "$WORK/gpu.jsonl")"
else
    skip "two batches under way" "no stand-in for a GPU: $(tail -n1 "$WORK/deploy.err")"
    oxbow stop gpu --now >/dev/null 2>&1
fi
kill "${WORKER_PID[gpu]}"

# ---- the device is lost in the middle of a batch
OXBOW_FAILPOINTS=infer.step=fail@200 start_worker w2
load five.onnx cpu lost.jsonl | sed 's/topology: load/topology: lost/' >"$WORK/lost.yaml"
oxbow deploy "$WORK/lost.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys on a device" "$(tail -n1 "$WORK/deploy.err")"
check "the device is lost" wait_for 30 metric_above fallbacks_total '' 0 lost
check "the model goes on without its device" wait_for 30 \
    metric_above batch_size_count 'device="reference"' 20 lost
check_same "the loss is counted" "$(metric fallbacks_total '' lost)" 1
check "the device had worked" metric_above batch_size_count 'device="cpu"' 0 lost
oxbow stop lost >/dev/null 2>&1
check "each number has one result, in order" judge "$WORK/lost.jsonl"
check "and nothing is missing at the end" \
    test "$(pe_tuples lost numbers out)" = "$(lines_in "$WORK/lost.jsonl")"
finish
