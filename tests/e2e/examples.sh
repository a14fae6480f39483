#!/bin/bash
# tests/e2e/examples.sh - every example runs with its one command and says that it is right.
#
# An example is a folder below examples/ with a run.sh that exits 0 when its own check of its output
# holds.  The embedded one runs once more, with nothing but the library's archive and what its .pc
# file says that this needs.
source "$(dirname "$0")/lib.sh"
export PATH=$BIN:$PATH OXBOW_BIN=$BIN
found=0
for script in "$ROOT"/examples/*/run.sh; do
    [ -f "$script" ] || continue
    found=$((found + 1))
    name=$(basename "$(dirname "$script")")
    timeout -k 5 120 bash "$script" >"$WORK/$name.out" 2>"$WORK/$name.err"
    check_same "example $name" $? 0
done
mkdir -p "$WORK/sdk/lib"
ln -s "$BIN/liboxbow.a" "$WORK/sdk/lib"
SDK_LIBS=$(PKG_CONFIG_PATH=$BIN pkg-config --define-variable=prefix="$WORK/sdk" \
    --static --libs oxbow)
export SDK_LIBS
timeout -k 5 120 "$ROOT/examples/embedded/run.sh" >"$WORK/static.out" 2>"$WORK/static.err"
check_same "example embedded, linked statically" $? 0
check "... is" sh -c "! ldd '$ROOT/examples/embedded/work/embedded' | grep -q liboxbow"
[ $found -gt 0 ] || skip "examples" "there are none yet"
[ $found -gt 0 ] || exit 0
finish
