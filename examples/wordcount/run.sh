#!/bin/sh
# examples/wordcount/run.sh [RUN OPTIONS] - counts the words of this machine's documentation on a
# local cluster (two workers, unless options are given) and checks them against tr, awk and sort.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../env.sh"
work=$here/work
[ $# -gt 0 ] || set -- --workers 2

# The corpus: licences, and the copyright, README and NEWS files of the installed packages.
{
    find /usr/share/common-licenses -type f -readable -print0
    find /usr/share/doc -type f -readable \
        \( -name copyright -o -name 'README*' -o -name 'NEWS*' \) \
        ! -name '*.gz' -size -100k -print0
} 2>/dev/null | sort -z | xargs -0 cat | LC_ALL=C tr -d '\000' >"$work/corpus.txt"
echo "corpus: $(wc -l <"$work/corpus.txt") lines, $(wc -c <"$work/corpus.txt") bytes"

"$OXBOW" run "$here/topology.yaml" "$@"

# The same by other means.
LC_ALL=C tr -cs 'A-Za-z0-9' '\n' <"$work/corpus.txt" | LC_ALL=C tr 'A-Z' 'a-z' |
    awk 'NF { n[$0]++ } END { for (w in n) print w, n[w] }' | LC_ALL=C sort >"$work/want.txt"
sed -E 's/^\{"word": *"([^"]*)", *"count": *([0-9]+)\}$/\1 \2/' "$work/counts.jsonl" |
    LC_ALL=C sort >"$work/got.txt"

echo "top words:"
sort -k2,2nr -k1,1 "$work/got.txt" | head -n 10 | awk '{ printf "  %8d %s\n", $2, $1 }'
same "$(wc -l <"$work/want.txt") words counted as awk counts them" "$work/got.txt" "$work/want.txt"
