#!/bin/bash
# tests/e2e/wordcount.sh - generated text, counted in every shape, equals a plain count.
#
# Shapes: workers 1..3 x parallelism 1..8 x fused or not x lines balanced or keyed to the splitters.
# All shapes run on WORDCOUNT_SMALL_MB (2); three of them on WORDCOUNT_MB (20).
source "$(dirname "$0")/lib.sh"
SMALL_MB=${WORDCOUNT_SMALL_MB:-2}
BIG_MB=${WORDCOUNT_MB:-20}
WORKERS=${WORDCOUNT_WORKERS:-1 2 3}
PARALLELISM=${WORDCOUNT_PARALLELISM:-1 2 3 4 5 6 7 8}

make_text() { # NAME MB SEED
    "$BIN/bench/gentext" "$2" "$3" >"$WORK/$1.txt"
    "$BIN/tests/e2e/countwords" <"$WORK/$1.txt" | sort >"$WORK/$1.want"
}

# count_words TEXT WORKERS PARALLELISM FUSION BY
count_words() {
    local text=$1 workers=$2 n=$3 fusion=$4 by=$5
    local name="$workers workers, parallelism $n, fusion $fusion, $by, $text text"
    local key=''
    [ "$by" = keyed ] && key=', by: line'
    rm -rf "$WORK/out" "$WORK/run" && mkdir "$WORK/out"
    cat >"$WORK/count.yaml" <<YAML
oxbow: 1
topology: wordcount
fusion: $fusion
pes:
  lines: {use: file-source, with: {path: $WORK/$text.txt}}
  split: {use: words, parallelism: $n}
  count: {use: count, parallelism: $n, with: {by: word, emit: final}}
  store: {use: file-sink, with: {path: $WORK/out/counts, format: tsv}}
streams:
  - {from: lines, to: split$key}
  - {from: split, to: count, by: word}
  - {from: count, to: store}
YAML
    if ! timeout -k 5 120 "$BIN/oxbow" run "$WORK/count.yaml" --workers "$workers" \
        --data "$WORK/run" >"$WORK/run.out" 2>"$WORK/run.err"; then
        not_ok "$name" "oxbow run failed with $?"
    elif cat "$WORK"/out/counts* | sort | cmp -s - "$WORK/$text.want"; then
        ok "$name"
    else
        not_ok "$name" "$(cat "$WORK"/out/counts* | sort | diff - "$WORK/$text.want" |
            grep -c '^[<>]') lines differ"
    fi
}

make_text small "$SMALL_MB" 1
make_text big "$BIG_MB" 2
for workers in $WORKERS; do
    for n in $PARALLELISM; do
        for fusion in auto off; do
            for by in balanced keyed; do
                count_words small "$workers" "$n" $fusion $by
            done
        done
    done
done
count_words big 1 1 auto balanced
count_words big 2 4 auto balanced
count_words big 3 8 off keyed
finish
