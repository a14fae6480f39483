#!/bin/sh
# examples/anomaly/run.sh - this machine's own telemetry gets scores from a model of what is usual;
# some work disturbs it; the model is exchanged for another one meanwhile.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../env.sh"
. "$here/../cluster.sh"
cd "$here"
if ! command -v python3 >/dev/null; then
    echo "skipped: this example learns with python3: apt install python3"
    exit 0
fi

# scores - how many there are so far; scored N: are there more?
scores() { wc -l <work/scores.jsonl; }
scored() { [ "$(scores)" -gt "$1" ]; }
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

start_cluster
"$OXBOW" deploy distance.yaml
wait_until "scores" scored 100
disturb
"$OXBOW" upgrade autoencoder.yaml --yes
wait_until "scores of the new model" scored $(($(scores) + 100))
disturb
"$OXBOW" stop anomaly
python3 -B learn.py work check
echo "ok: each of $(scores) samples has the score of one model, in order, as learn.py computes it"
