# shellcheck shell=sh
# examples/cluster.sh - a master and one worker below ./work, for an example that runs on them:
# read by its run.sh after env.sh.  What is in $pids ends with the script.

pids=
end_all() {
    for pid in $pids; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
}
trap end_all EXIT

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

# ready FILE KEY - its value in the line by which a program says that it is ready.
ready() { sed -n "s/^ready .*$2=\([^ ]*\).*/\1/p" "$1"; }

# start_cluster - sets OXBOW_MASTER for the command line.
start_cluster() {
    "$OXBOW_MASTER_PROGRAM" --data work/master --listen 127.0.0.1:0 --http 127.0.0.1:0 \
        >work/master.out 2>work/master.log &
    pids="$! $pids"
    wait_until "master" grep -q '^ready' work/master.out
    OXBOW_MASTER=http://$(ready work/master.out http)
    export OXBOW_MASTER
    "$OXBOW_WORKER_PROGRAM" --master "$(ready work/master.out control)" --name w1 \
        --data work/worker --listen 127.0.0.1:0 >work/worker.out 2>work/worker.log &
    pids="$! $pids"
    wait_until "worker" grep -q '^ready' work/worker.out
}
