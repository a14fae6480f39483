#!/bin/bash
# tests/e2e/soak.sh - upgrade after upgrade of one running topology under load: what the processes
# hold must not grow.  SOAK=10000 by hand; the short form does 40.
#
# Memory, descriptors, threads, mapped plug-ins and what a tuple costs are shown all along, a line
# every twentieth; the end is compared with the time after the first fifth.  All tuples are judged.
source "$(dirname "$0")/lib.sh"
SOAK=${SOAK:-40}

cat >"$WORK/stamp.c" <<'C'
#include <oxbow/pe.h>

static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    void *slots[1024];
    const unsigned key = (unsigned)oxb_field(in->schema, "key");
    (void)port;
    oxb_state_rows(oxb_state(pe, "counts"), in, &key, 1, slots);
    struct oxb_batch *out = oxb_derive(pe, 0, in);
    int64_t *n = oxb_new_i64s(pe, out, (unsigned)oxb_field(oxb_out_schema(pe, 0), "n"));
    oxb_set_column(pe, out, (unsigned)oxb_field(oxb_out_schema(pe, 0), "b"),
                   *(struct oxb_const **)oxb_self(pe));
    uint32_t k = 0;
    OXB_EACH (in, i) {
        n[i] = ++*(int64_t *)slots[k++];
    }
    oxb_forward(pe, 0, out);
    return OXB_OK;
}
static int prepare(struct oxb_pe *pe)
{
    *(struct oxb_const **)oxb_self(pe) = oxb_const_i64(pe, VERSION);
    return OXB_OK;
}
static const struct oxb_value values[] = {{"count", OXB_I64}, {0}};
static const struct oxb_state_decl states[] = {{"counts", values}, {0}};
static const struct oxb_port outputs[] = {{"out", "*, b: i64, n: i64", "stamped"}, {0}};
extern const struct oxb_pe_type oxb_pe;
OXB_EXPORT const struct oxb_pe_type oxb_pe = {
    .abi = OXB_ABI, .name = "stamp", .outputs = outputs, .states = states, .state_version = 1,
    .self_bytes = sizeof(void *), .prepare = prepare, .process = process};
C
for v in 1 2; do
    cc -shared -fPIC -O1 -DVERSION=$v "$WORK/stamp.c" -I"$BIN/include" -o "$WORK/stamp$v.so" ||
        give_up "the plug-in builds"
done
topology() { # STEP: one of eight, each unlike the one before it
    local code=1 field='' mid=2 thread=shared extra='' name=stamp from=numbers
    case $(($1 % 8)) in
    1) code=2 ;;
    2) mid=3 ;;
    3) field=', more: word' ;;
    4) thread=own ;;
    5) extra=1 ;;
    6) extra=1 code=2 name=other ;;
    7) mid=1 field=', more: word' code=2 ;;
    esac
    echo "oxbow: 1" && echo "topology: soak" && echo "pes:"
    echo "  numbers: {use: sequence, with: {rate: 20000, keys: 100}}"
    echo "  mid: {use: set, parallelism: $mid, with: {fields: {a: 1$field}}}"
    echo "  $name: {use: ./stamp$code.so, uid: stamp, threads: $thread}"
    [ -z "$extra" ] || echo "  extra: {use: filter, with: {field: seq, ge: 0}}"
    echo "  store: {use: file-sink, with: {path: $WORK/main, commit: flush}}"
    echo "streams:"
    [ -z "$extra" ] || { echo "  - {from: numbers, to: extra}" && from=extra; }
    echo "  - {from: $from, to: mid, by: key}"
    echo "  - {from: mid, to: $name, by: key}"
    echo "  - {from: $name, to: store}"
}

cpu_ms() { awk -v hz="$(getconf CLK_TCK)" '{print int(($14 + $15) * 1000 / hz)}' "/proc/$1/stat"; }
threads_of() { sed -nE 's/^Threads:[^0-9]*([0-9]+)/\1/p' "/proc/$1/status"; }
fds_of() { find "/proc/$1/fd" -mindepth 1 2>/dev/null | wc -l; }
code_of() { grep -oE '[0-9a-f]{64}\.so' "/proc/$1/maps" | sort -u | wc -l; }
tuples=0 ms=0
note() { # one line of the table: the worker's memory, what it has open, ns of its time per tuple
    local w=${WORKER_PID[w1]} now_tuples now_ms
    now_tuples=$(lines_in "$WORK/main") now_ms=$(cpu_ms "$w")
    echo "$1 $(rss_kb "$w") $(rss_kb "$MASTER_PID") $(fds_of "$w") $(fds_of "$MASTER_PID")" \
        "$(threads_of "$w") $(threads_of "$MASTER_PID") $(code_of "$w")" \
        "$(((now_ms - ms) * 1000000 / (now_tuples - tuples + 1)))" >>"$WORK/table"
    sed -n '$s/^/# /p' "$WORK/table"
    tuples=$now_tuples ms=$now_ms
}

start_cluster 1
topology 0 >"$WORK/t.yaml"
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" || give_up "deploys"
wait_for 10 lines_above "$WORK/main" 100
echo "# upgrades, KiB of worker and master, their descriptors, threads, plug-ins, ns per tuple"
bad=0 every=$((SOAK / 20 > 0 ? SOAK / 20 : 1))
echo "main a=1 b=1" >"$WORK/versions"
for ((i = 1; i <= SOAK; i++)); do
    topology $i >"$WORK/t.yaml"
    timeout -k 5 60 "$BIN/oxbow" --master "$URL" -o json upgrade "$WORK/t.yaml" --yes \
        >"$WORK/receipt" 2>"$WORK/upgrade.err" && grep -q '"result": "done"' "$WORK/receipt" ||
        { bad=$((bad + 1)) && [ $bad -gt 3 ] || echo "# $i: $(tail -n1 "$WORK/upgrade.err")"; }
    echo "main a=1 b=$(($(grep -c 'stamp2' "$WORK/t.yaml") + 1))" >>"$WORK/versions"
    [ $((i % every)) != 0 ] || note $i
done
check_same "$SOAK upgrades" $bad 0

# flat COLUMN SLACK: in the last quarter never more than the most of the second fifth and SLACK %.
flat() {
    awk -v c="$1" -v slack="$2" '{v[NR] = $c}
        END { for (i = int(NR / 5); i <= int(NR * 2 / 5); i++) if (v[i] > most) most = v[i]
              most *= 1 + slack / 100
              for (i = int(NR * 3 / 4); i <= NR; i++) if (v[i] > most) exit 1 }' \
        "$WORK/table"
}
check "the worker's memory is flat" flat 2 10
check "the master's memory is flat" flat 3 15
check "descriptors are flat" flat 4 0
check "the master's, too" flat 5 0
check "threads are flat" flat 6 0
check "replaced code leaves" awk '$8 > 2 { exit 1 }' "$WORK/table"
timeout -k 5 60 "$BIN/oxbow" --master "$URL" stop soak >/dev/null 2>&1
check "every tuple once, in order, counted on" "$BIN/tests/e2e/tuples" --keys 100 \
    --total "$(pe_tuples soak numbers out)" --versions "$WORK/versions" "main=$WORK/main"
finish
