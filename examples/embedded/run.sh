#!/bin/sh
# examples/embedded/run.sh - a C program joins a master as a worker of its own, feeds a topology and
# reads its results by function calls; it checks them itself.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../env.sh"
cd "$here"
orders=${ORDERS:-200000}

# shellcheck disable=SC2086 # the flags are several words
$CC -O2 -Wall -Wextra embedded.c $SDK_CFLAGS $SDK_LIBS -pthread -o work/embedded

master_pid=
program_pid=
end() {
    for pid in $program_pid $master_pid; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
}
trap end EXIT

# wait_line FILE WORD - the first line of FILE that starts with WORD, when it is there (10 s).
wait_line() {
    tries=0
    until grep -m 1 "^$2" "$1" 2>/dev/null; do
        tries=$((tries + 1))
        if [ "$tries" -gt 100 ]; then
            echo "FAILED: no line '$2' in $1" >&2
            exit 1
        fi
        sleep 0.1
    done
}

"$OXBOW_MASTER_PROGRAM" --data work/master --listen 127.0.0.1:0 --http 127.0.0.1:0 \
    >work/master.out 2>work/master.log &
master_pid=$!
ready=$(wait_line work/master.out ready)
control=$(echo "$ready" | sed 's/.*control=\([^ ]*\).*/\1/')
http=$(echo "$ready" | sed 's/.*http=\([^ ]*\).*/\1/')

work/embedded "$control" "$orders" >work/program.out 2>work/program.log &
program_pid=$!
wait_line work/program.out joined
"$OXBOW" --master "http://$http" deploy topology.yaml

code=0
wait "$program_pid" || code=$?
program_pid=
tail -n 1 work/program.out
cat work/program.log >&2
"$OXBOW" --master "http://$http" status embedded
[ "$code" = 0 ] && grep -q '^ok' work/program.out
