#!/bin/sh
# examples/anomaly/run.sh - this machine's own telemetry gets scores from a model of what is usual;
# some work disturbs it; the model is exchanged for another one meanwhile.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../env.sh"
cd "$here"
if ! command -v python3 >/dev/null; then
    echo "skipped: this example learns with python3: apt install python3"
    exit 0
fi

pids=
end() {
    for pid in $pids; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
}
trap end EXIT
# wait_until WHAT COMMAND... - until it succeeds (60 s).
wait_until() {
    what=$1
    shift
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -gt 600 ]; then
            echo "FAILED: no $what after 60 s" >&2
            exit 1
        fi
        sleep 0.1
    done
}
# scores - how many there are so far; scored N: are there more?
scores() { wc -l <work/scores.jsonl; }
scored() { [ "$(scores)" -gt "$1" ]; }
ready() { sed -n "s/^ready .*$2=\([^ ]*\).*/\1/p" "$1"; }
# disturb - processes that come and go, for 50 samples.
disturb() {
    until=$(($(scores) + 50))
    while ! scored "$until"; do
        sh -c :
    done
}

# shellcheck disable=SC2086 # the flags are several words
$CC -O2 -Wall -Wextra -shared -fPIC vitals.c $SDK_CFLAGS -o work/vitals.so
"$OXBOW" run record.yaml
python3 -B learn.py work

"$OXBOW_MASTER_PROGRAM" --data work/master --listen 127.0.0.1:0 --http 127.0.0.1:0 \
    >work/master.out 2>work/master.log &
pids=$!
wait_until "master" grep -q '^ready' work/master.out
OXBOW_MASTER=http://$(ready work/master.out http)
export OXBOW_MASTER
"$OXBOW_WORKER_PROGRAM" --master "$(ready work/master.out control)" --name w1 --data work/worker \
    --listen 127.0.0.1:0 >work/worker.out 2>work/worker.log &
pids="$! $pids"
wait_until "worker" grep -q '^ready' work/worker.out

"$OXBOW" deploy distance.yaml
wait_until "scores" scored 100
disturb
"$OXBOW" upgrade autoencoder.yaml --yes
wait_until "scores of the new model" scored $(($(scores) + 100))
disturb
"$OXBOW" stop anomaly
python3 -B learn.py work check
echo "ok: each of $(scores) samples has the score of one model, in order, as learn.py computes it"
