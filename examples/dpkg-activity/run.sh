#!/bin/sh
# examples/dpkg-activity/run.sh [RUN OPTIONS] - an activity report from /var/log/dpkg.log, by a
# plug-in in C, checked against awk.  Without such a log it reads the sample beside it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../env.sh"

# shellcheck disable=SC2086 # the flags are several words
$CC -O2 -Wall -Wextra -shared -fPIC "$here/parse.c" $SDK_CFLAGS -o "$work/parse.so"
log=/var/log/dpkg.log
{ [ -r "$log" ] && [ -s "$log" ]; } || log=$here/sample.log
cat "$log" >"$work/dpkg.log"
echo 'this line is no dpkg line' >>"$work/dpkg.log" # to see where such lines go
echo "log: $log, $(wc -l <"$work/dpkg.log") lines"

"$OXBOW" run "$here/topology.yaml" "$@"

# The same by other means.
# Without {4}: the awk of Debian does not know it.
good='/^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9:]+ [^ ]/'
awk "$good"' { a = $3 == "status" ? $4 : $3; n[a]++ } END { for (k in n) print k, n[k] }' \
    "$work/dpkg.log" | LC_ALL=C sort >"$work/actions.want"
awk "$good"' { n[$1]++ } END { for (k in n) print k, n[k] }' "$work/dpkg.log" |
    LC_ALL=C sort >"$work/days.want"
for what in action day; do
    sed -E 's/^\{"'"$what"'": *"([^"]*)", *"count": *([0-9]+)\}$/\1 \2/' "$work/${what}s.jsonl" |
        LC_ALL=C sort >"$work/${what}s.got"
done

echo "actions:"
sort -k2,2nr "$work/actions.got" | awk '{ printf "  %8d %s\n", $2, $1 }'
same "every action counted as awk counts it" "$work/actions.got" "$work/actions.want"
same "every day counted as awk counts it" "$work/days.got" "$work/days.want"
awk '!'"$good" "$work/dpkg.log" | wc -l | tr -d ' ' >"$work/rejects.want"
wc -l <"$work/rejects.jsonl" | tr -d ' ' >"$work/rejects.got"
same "odd lines are in rejects.jsonl" "$work/rejects.got" "$work/rejects.want"
