#!/bin/bash
# tests/e2e/bad_yaml.sh - every file of bad/ is refused quickly, at the right place.
#
# The first line of each file says what to expect: `# expect: LINE:COLUMN word`.  The word must be
# part of the message.  Files too odd to keep in a repository are made here.
source "$(dirname "$0")/lib.sh"

# refused NAME FILE PLACE WORD
refused() {
    local started status took
    started=$(now_ms)
    timeout -k 5 5 "$BIN/oxbow" validate "$2" >"$WORK/out" 2>&1
    status=$?
    took=$(($(now_ms) - started))
    if [ $status != 3 ]; then
        not_ok "$1" "status $status, wanted 3: $(head -n1 "$WORK/out")"
    elif [ $took -ge 1000 ]; then
        not_ok "$1" "took $took ms"
    elif ! grep -F -- "$2:$3" "$WORK/out" | grep -qF -- "$4"; then
        not_ok "$1" "no line $2:$3 with '$4' in: $(head -n3 "$WORK/out")"
    else
        ok "$1"
    fi
}

for f in "$HERE"/bad/*.yaml; do
    expect=$(sed -nE '1s/^# expect: //p' "$f")
    refused "refuses $(basename "$f" .yaml)" "$f" "${expect%% *}:" "${expect#* }"
done

made() { # NAME PLACE WORD: of the file $WORK/made.yaml
    refused "refuses $1" "$WORK/made.yaml" "$2" "$3"
}
printf 'oxbow: 1\ntopology: deep\npes: %s\n' "$(head -c 100000 /dev/zero | tr '\0' '[')" \
    >"$WORK/made.yaml"
made "100,000 brackets" 3: deep
printf 'oxbow: 1\n%s' "$(head -c 2000000 /dev/zero | tr '\0' '#')" >"$WORK/made.yaml"
made "two megabytes" "" 1048576
{
    printf 'a0: &a0 [x, x, x, x, x, x, x, x, x]\n'
    for i in 1 2 3 4 5 6 7 8 9; do
        printf 'a%d: &a%d [%s]\n' $i $i "$(yes "*a$((i - 1))," | head -n 9 | tr -d '\n')"
    done
} >"$WORK/made.yaml"
made "a billion laughs" 1:5: anchors
printf 'oxbow: 1\ntopology: "\xff\xfe"\n' >"$WORK/made.yaml"
made "bytes that are not UTF-8" 2: UTF-8
: >"$WORK/made.yaml"
made "an empty file" 1: empty
{
    printf 'oxbow: 1\ntopology: many\npes:\n'
    for ((i = 0; i < 1001; i++)); do echo "  p$i: {use: union}"; done
} >"$WORK/made.yaml"
made "1001 PEs" "" 1000
timeout -k 5 5 "$BIN/oxbow" validate "$WORK/not-there.yaml" >"$WORK/out" 2>&1
status=$?
check_same "a file that is not there is an error of use or a refusal" \
    "$([ $status = 2 ] || [ $status = 3 ] || [ $status = 1 ] && echo yes)" yes
check "... and its name is in the message" grep -q not-there.yaml "$WORK/out"
finish
