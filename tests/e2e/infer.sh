#!/bin/bash
# tests/e2e/infer.sh - a model runs over the stream and is exchanged while it runs.
#
# The first model gives y = 2 x + 1 of a tensor, the second y = 3 x.  Every
# tuple must have gone through exactly one of them, in order, and none be lost.
source "$(dirname "$0")/lib.sh"

make_model() { "$BIN/tests/e2e/makemodel" "$@"; }

# topology FILE MODEL DEVICE: numbers in a file, followed -> the model -> a file
topology() {
    cat >"$1" <<YAML
oxbow: 1
topology: nets
pes:
  rows:
    use: file-source
    with: {path: in.jsonl, format: jsonl, follow: true}
    out: {id: i64, pixels: "f32[4]"}
  net:
    use: infer
    with:
      model: $2
      in: {x: pixels}
      out: {scores: y}
      batch: {max: 32, delay: 2ms}
      device: $3
  store: {use: file-sink, with: {path: out.jsonl, commit: flush}}
streams:
  - {from: rows, to: net}
  - {from: net, to: store}
YAML
}

write_rows() { # FROM TO
    awk -v a="$1" -v b="$2" 'BEGIN { for (i = a; i < b; i++)
        printf "{\"id\":%d,\"pixels\":[%d,1,2,3]}\n", i, i % 1000 }' >>"$WORK/in.jsonl"
}

# Each line's scores are those of one of the two models for its pixels; ids 0, 1, 2 ... in order.
judge() { # FIRST_OF_NEW
    awk -v from="$1" -F'[][,:}]+' '
        function bad(why) { print "line " NR ": " why ": " $0; failed = 1; exit }
        {
            id = $2; v = id % 1000
            if (id != NR - 1) bad("id out of order")
            n = split($0, part, "\"scores\":")
            split(part[2], s, /[][,}]+/)
            old = s[2] == 2 * v + 1 && s[3] == 3 && s[4] == 5 && s[5] == 7
            new = s[2] == 3 * v && s[3] == 3 && s[4] == 6 && s[5] == 9
            if (!old && !new) bad("scores of neither model")
            if (changed && old) bad("the old model after the new one")
            if (new) changed = 1
            if (id >= from && !new) bad("the old model for a tuple sent after the change")
        }
        END { exit failed }' "$WORK/out.jsonl" >"$WORK/judge" || return 1
}

start_cluster 1
make_model "$WORK/first.onnx" affine 2 1
make_model "$WORK/second.onnx" affine 3 0
device=${INFER_DEVICE:-reference}

check "model check says that all is supported" \
    sh -c "'$BIN/oxbow' model check '$WORK/first.onnx' | grep -q '^ok: 2 nodes'"

topology "$WORK/t.yaml" none.onnx $device
oxbow validate "$WORK/t.yaml" >"$WORK/validate.out" 2>&1
check "a model that is not there is an error with its place" \
    grep -qE 't.yaml:11:14: .*none.onnx' "$WORK/validate.out"

# wrong NAME FROM TO PLACE WORDS: the topology with FROM replaced by TO is refused there
wrong() {
    topology "$WORK/wrong.yaml" ./first.onnx $device
    sed -i "s/$2/$3/" "$WORK/wrong.yaml"
    oxbow validate "$WORK/wrong.yaml" >"$WORK/validate.out" 2>&1
    check_same "$1 is refused" $? 3
    check "$1: with its place" grep -q "wrong.yaml:$4: 'net': .*$5.* (.*)" "$WORK/validate.out"
}
topology "$WORK/t.yaml" ./first.onnx $device
oxbow validate "$WORK/t.yaml" >"$WORK/validate.out" 2>&1
check_same "a model whose fields fit is valid" $? 0
wrong "a field that no tuple has" "x: pixels" "x: colours" 12:15 "the field 'colours'"
wrong "an input that the model lacks" "x: pixels" "z: pixels" 12:12 "the model has no input 'z'"
wrong "a field of another size" "f32.4." "f32[3]" 12:12 "its fields have 3 elements"
wrong "an output that the model lacks" "scores: y" "scores: z" 13:21 "the model has no output 'z'"

write_rows 0 5000
topology "$WORK/t.yaml" ./first.onnx $device
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
check "every tuple has its scores" wait_for 20 lines_above "$WORK/out.jsonl" 4999

cp "$WORK/t.yaml" "$WORK/same.yaml"
oxbow plan "$WORK/same.yaml" >"$WORK/plan.out" 2>&1
check "the same model is no change" grep -q 'no change' "$WORK/plan.out"

write_rows 5000 20000
topology "$WORK/t.yaml" second.onnx $device
timeout -k 5 60 "$BIN/oxbow" --master "$URL" -o json upgrade "$WORK/t.yaml" --yes \
    >"$WORK/receipt" 2>"$WORK/upgrade.err"
check_same "another model takes over" "0 done" \
    "$? $(sed -nE 's/.*"result": "([a-z]+)".*/\1/p' "$WORK/receipt")"
check_same "nothing was lost, doubled or reordered" 3 \
    "$(grep -cE '^  "(lost|duplicated|reordered)": 0,' "$WORK/receipt")"
write_rows 20000 25000
check "tuples flow through the new model" wait_for 20 lines_above "$WORK/out.jsonl" 24999
check "each tuple went through one model, in order" judge 20000
[ ! -s "$WORK/judge" ] || sed 's/^/# /' "$WORK/judge"

printf 'not a model, but long enough to be looked at' >"$WORK/bad.onnx"
topology "$WORK/t.yaml" bad.onnx $device
oxbow validate "$WORK/t.yaml" >"$WORK/validate.out" 2>&1
check_same "a file that is no model is refused" 3 $?
check "with a reason" grep -q 'protobuf' "$WORK/validate.out"
finish
