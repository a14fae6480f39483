#!/bin/sh
# examples/live/run.sh [RUN OPTIONS] - counts words on a local cluster (two workers, unless options
# are given), changes the running topology three times, prints a receipt for each, and checks every
# count against tr, awk and sort.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../env.sh"
work=$here/work
[ $# -gt 0 ] || set -- --workers 2

# The corpus: the documentation of the installed packages, as often as makes 200,000 lines.
{
    find /usr/share/common-licenses -type f -readable -print0
    find /usr/share/doc -type f -readable \
        \( -name copyright -o -name 'README*' -o -name 'NEWS*' \) \
        ! -name '*.gz' -size -100k -print0
} 2>/dev/null | sort -z | xargs -0 cat | LC_ALL=C tr -d '\000' >"$work/text"
while [ "$(wc -l <"$work/text")" -lt 200000 ]; do
    cat "$work/text" "$work/text" >"$work/twice"
    mv "$work/twice" "$work/text"
done
head -n 200000 "$work/text" >"$work/corpus.txt"
rm "$work/text"
echo "corpus: $(wc -l <"$work/corpus.txt") lines, $(wc -c <"$work/corpus.txt") bytes"

# Two versions of the user's own PE.  The text is counted by both, each its part of the time.
build_tally() { # VERSION FILE
    # shellcheck disable=SC2086
    "$CC" -std=c17 -O2 -Wall -shared -fPIC $SDK_CFLAGS "-DVERSION=$1" "$here/tally.c" -o "$2"
}
build_tally 1 "$work/tally.so"
build_tally 2 "$work/tally2.so"

"$OXBOW" run "$here/topology.yaml" "$@" --data "$work/data" >"$work/run.out" 2>"$work/run.err" &
run=$!
trap 'kill $run 2>/dev/null || true' EXIT
master='' waited=0
runs() { "$OXBOW" --master "$master" status live 2>/dev/null | grep -q running; }
while [ -z "$master" ] || ! runs; do
    kill -0 $run 2>/dev/null || { cat "$work/run.err" >&2; exit 1; }
    waited=$((waited + 1))
    [ $waited -lt 600 ] || { echo "the topology does not start" >&2; exit 1; }
    sleep 0.1
    master=$(sed -nE 's/^live: on (http:[^ ]+) .*/\1/p' "$work/run.err")
done

# received - words that came to the tally so far.
received() {
    "$OXBOW" --master "$master" -o json status live |
        sed -nE '/"name": *"tally"/,/\}/s/.*"tuples_in": *([0-9]+).*/\1/p' | head -n 1
}
# words COUNT - waits until the tally has that many more.
words() {
    wanted=$(($(received) + $1)) waited=0
    while [ "$(received)" -lt $wanted ]; do
        waited=$((waited + 1))
        [ $waited -lt 600 ] || { echo "FAILED: no more words come" >&2; exit 1; }
        sleep 0.1
    done
}
# change WHAT VERB ARGUMENTS... - carried out while words flow.
change() {
    echo
    echo "== $1 (the tally has $(received) words)"
    shift
    "$OXBOW" --master "$master" "$@" >"$work/change.out" 2>"$work/change.err" || {
        cat "$work/change.out" "$work/change.err" >&2
        exit 1
    }
    cat "$work/change.out"
    "$OXBOW" --master "$master" -o json receipt live >"$work/receipt.json"
    for count in lost duplicated reordered; do
        grep -qE "\"$count\": *0[,}]?" "$work/receipt.json" || {
            echo "FAILED: the receipt does not say that nothing was $count" >&2
            exit 1
        }
    done
}

words 50000

# 1: a PE is inserted between two that run; it passes every word.
sed -e 's#work/##' -e '/^  tally:/i\
  letters:\
    use: filter\
    with: {field: word, match: "[a-z0-9]"}\
    parallelism: 2' \
    -e 's/from: split, to: tally, by: word/from: split, to: letters/' \
    -e '/from: tally, to: result/i\
  - {from: letters, to: tally, by: word}' \
    "$here/topology.yaml" >"$work/next.yaml"
change "a PE is inserted: split -> letters -> tally" upgrade "$work/next.yaml" --yes

words 100000 # in between

# 2: the user's PE is replaced by its next version; its state is migrated.
sed -i 's/tally\.so/tally2.so/' "$work/next.yaml"
change "code is replaced, state migrated: tally version 1 -> 2" upgrade "$work/next.yaml" --yes

words 100000

# 3: two instances become three; a third of the state moves.
change "a rescale: tally 2 -> 3" scale live tally=3

echo
"$OXBOW" --master "$master" history live
wait $run || { cat "$work/run.err" >&2; exit 1; }
trap - EXIT

# The same by other means.
LC_ALL=C tr -cs 'A-Za-z0-9' '\n' <"$work/corpus.txt" | LC_ALL=C tr 'A-Z' 'a-z' |
    awk 'NF { n[$0]++ } END { for (w in n) print w, n[w] }' | LC_ALL=C sort >"$work/want.txt"
sed -E 's/^\{"word": *"([^"]*)", *"count": *([0-9]+),.*$/\1 \2/' "$work/counts.jsonl" |
    LC_ALL=C sort >"$work/got.txt"
sed -E 's/.*"inherited": *([0-9]+).*/\1/' "$work/counts.jsonl" |
    awk '{ n += $1 } END { printf "version 1 had counted %d words when version 2 took over\n", n
                           exit n == 0 }' || { echo "FAILED: nothing was migrated" >&2; exit 1; }
echo "top words:"
sort -k2,2nr -k1,1 "$work/got.txt" | head -n 5 | awk '{ printf "  %8d %s\n", $2, $1 }'
same "$(wc -l <"$work/want.txt") words counted as awk counts them, over three live changes" \
    "$work/got.txt" "$work/want.txt"
