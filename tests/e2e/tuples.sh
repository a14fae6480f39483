#!/bin/bash
# tests/e2e/tuples.sh - the judge of the other tests is judged: tuples.c finds each planted fault,
# and finds nothing where nothing is wrong.
source "$(dirname "$0")/lib.sh"

# Two versions, a fork to two sinks, four keys; 0..49 are of the first, 50..99 of the second, which
# has another PE `b` and no side way.
(
    cd "$WORK" && awk 'BEGIN {
        for (s = 0; s < 100; s++) {
            v = s < 50 ? 1 : 2
            printf "{\"seq\":%d,\"key\":%d,\"a\":%d,\"n\":%d,\"b\":%d}\n", s, s % 4, v,
                   s / 4 + 1, v >"main"
            if (v == 1) printf "{\"seq\":%d,\"key\":%d,\"a\":1,\"d\":7}\n", s, s % 4 >"side"
        }
    }'
)
printf 'main a=1 b=1; side a=1 d=7\nmain a=2 b=2\n' >"$WORK/versions"

judge() { # FILE of main, FILE of side, options
    local main=$1 side=$2
    shift 2
    "$BIN/tests/e2e/tuples" --keys 4 --versions "$WORK/versions" "$@" "main=$WORK/$main" \
        "side=$WORK/$side"
}
check "what is right passes" judge main side --total 100
check_same "without versions it judges nothing, and says so" \
    "$("$BIN/tests/e2e/tuples" --total 100 main="$WORK/main" 2>&1 | grep -c '^tuples: usage')" 1

# planted NAME KIND COUNT SED-SCRIPT [FILE]: the fault is found, as that many of that kind alone.
planted() {
    local file=${5:-main} main=main side=side got
    sed -E "$4" "$WORK/$file" >"$WORK/bad"
    if [ "$file" = main ]; then main=bad; else side=bad; fi
    got=$(judge $main $side --total 100)
    check_same "$1" "$? $(tail -n1 <<<"$got" | tr ' ' '\n' | paste -sd' \n' |
        awk '$2 != "0" && $1 != "tuples"' | paste -sd' ')" "1 $2 $3"
}
planted "a tuple that is missing" lost 1 '11d'
planted "the last tuple missing" lost 1 '100d'
planted "a tuple missing on one of two ways" lost 1 '11d' side
planted "a tuple that comes twice" doubled 1 '11p'
planted "a tuple twice on one of two ways" doubled 1 '11p' side
planted "two of a key in the wrong order" reordered 1 '11{h;d}; 15G'
planted "a tuple half old, half new" mixed 1 '61s/"b":2/"b":1/'
planted "copies that met different versions" mixed 1 '11{s/"a":1/"a":2/; s/"b":1/"b":2/}'
planted "a stamp that no version has" mixed 1 '61s/"b":2/"b":3/'
planted "a state that starts anew" miscounted 1 '61s/"n":16/"n":1/'
planted "a line cut in two" "lost 1 malformed" 1 '61s/,"key".*//'
planted "a tuple that was never sent" malformed 1 '$a {"seq":100,"key":0,"a":2,"n":26,"b":2}'
sed -E '11{s/"a":1/"a":2/; s/"b":1/"b":2/}' "$WORK/main" >"$WORK/bad"
sed '11d' "$WORK/side" >"$WORK/bad.side"
check_same "old ones after a new one of the same key" \
    "$(judge bad bad.side --total 100 | tail -n1 | grep -o 'mixed .* mis')" "mixed 9 mis"
check "two of different keys may be in any order" judge main side --total 100
sed '11{h;d}; 12G' "$WORK/main" >"$WORK/bad"
check "order counts by key only" judge bad side --total 100
sed '11{h;d}; 15G' "$WORK/main" >"$WORK/bad"
check "and not where none is promised" judge bad side --total 100 --unordered main
finish
