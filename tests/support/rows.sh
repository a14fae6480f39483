# tests/support/rows.sh - the changes that a topology goes through in tests, and the topology.
# shellcheck shell=bash disable=SC2034
#
# A row is a name and the settings in which it differs from the base (see `topology`); steps of
# several upgrades are separated by `;`.  To be set by who sources this, after e2e/lib.sh: topo (its
# name), workers, KEYS, RATE (", rate: N"), OUT (folder of the sinks' files), SLOW, sides; maybe
# COMMIT (of the sinks), CHECKPOINT (the section's text) and ENDS (placement of sources and sinks).
declare -A ROW=(
    ["code replaced, its state kept"]="B=2"
    ["parameter of a stateless PE"]="A=2"
    ["parameter of a PE with state"]="ADD=10"
    ["parameters at both ends of the way"]="A=3 C=3"
    ["code and parameters at once"]="A=4 B=2 C=4"
    ["PE inserted"]="INSERT=1"
    ["two PEs inserted"]="INSERT=1 INSERT2=1"
    ["PE bypassed"]="BYPASS=1"
    ["stream and branch added"]="SIDE=first"
    ["branch added elsewhere, other stamps"]="SIDE=last A=5"
    ["stream re-pointed"]="SIDE=first; SIDE=mid; SIDE=first"
    ["stream re-pointed to other fields"]="SIDE=last; SIDE=first; SIDE=last"
    ["schema: a field more, all the way"]="FIELD=1"
    ["schema, code and state"]="FIELD=1 B=2 A=8"
    ["policy of a PE"]="ERROR=drop"
    ["thread of its own, and back"]="THREADS=own; THREADS=shared; THREADS=own"
    ["threads and code"]="THREADS=own B=2; THREADS=shared B=3"
    ["stream re-partitioned"]="BY=[key,a]"
    ["parallelism up"]="MID=4"
    ["parallelism down"]="MID=1"
    ["stateless to another worker"]="MID_AT=last; MID_AT=w1"
    ["renamed"]="NAME=other"
    ["renamed, with state"]="TALLY=counter"
    ["renamed and other code"]="TALLY=counter B=3"
    ["chains split"]="FUSION=off"
    ["policies only"]="TIMEOUT=31s"
    ["several at once"]="A=6 B=2 C=6 INSERT=1 MID=3 SIDE=first"
    ["nearly everything"]="ERROR=drop FIELD=1 THREADS=own A=7 B=3 C=7 ADD=20 INSERT2=1
        MID=1 SIDE=last NAME=other FUSION=off"
)
# Rows whose state goes to other instances.
declare -A MOVING=(
    ["keyed state over more instances, and fewer"]="TALLIES=4; TALLIES=2; TALLIES=3"
    ["state, code and parallelism"]="TALLIES=3 B=2"
    ["renamed, scaled"]="TALLIES=2 TALLY=counter MID=3"
    ["PE inserted, what it feeds scaled"]="INSERT=1 TALLIES=2 TALLY=counter MID=3"
    ["state to another worker, and back"]="AT=last; AT=w1; AT=last"
    ["code of another state version"]="B=4"
    ["another state version, scaled"]="B=4 TALLIES=3; TALLIES=2"
    ["moved and another state version"]="AT=last B=4; AT=w1; B=5"
    ["moved, scaled, other code"]="AT=last TALLIES=2 B=3; AT=w1 TALLIES=1 B=2"
)
# Rows in a fixed order.
name_rows() {
    mapfile -t NAMES < <(printf '%s\n' "${!ROW[@]}" | sort | grep -E -- "${MATRIX_ROWS:-.}")
}

# ---- the topology: what a row may set, with the base's values
settings() { # of this many assignments: fills the variables of its caller
    A=1 B=1 C=1 ADD=0 INSERT='' INSERT2='' BYPASS='' SIDE='' BY=key MID=2 NAME=mid TALLY=tally
    FUSION="auto" TIMEOUT=30s FIELD='' ERROR="stop" THREADS="shared"
    TALLIES=1 AT='' MID_AT=''
    local s
    for s in "$@"; do printf -v "${s%%=*}" '%s' "${s#*=}"; done
}
place() { # w1 or last: the only worker, when there is one
    case $1 in
    last) echo ", place: {labels: {name: w$workers}}" ;;
    w*) echo ", place: {labels: {name: $1}}" ;;
    esac
}
topology() { # SETTINGS...
    local A B C ADD INSERT INSERT2 BYPASS SIDE BY MID NAME TALLY FUSION TIMEOUT FIELD ERROR THREADS
    local TALLIES AT MID_AT before=first
    settings "$@"
    cat <<YAML
oxbow: 1
topology: $topo
fusion: $FUSION
upgrade: {timeout: $TIMEOUT}
${CHECKPOINT:+checkpoint: $CHECKPOINT}
pes:
  numbers: {use: sequence, with: {keys: $KEYS$RATE}${ENDS:-}}
  first: {use: set, with: {fields: {a: $A${FIELD:+, more: word}}}${ENDS:-}}
  $TALLY: {use: ./tally$B.so, uid: tally, threads: $THREADS, with: {add: $ADD},
    parallelism: $TALLIES, on_error: {then: $ERROR}$(place "$AT")}
  last: {use: set, with: {fields: {c: $C}}${ENDS:-}}
  store: {use: file-sink, with: {path: $OUT/main, commit: ${COMMIT:-flush}}${ENDS:-}}
YAML
    [ -n "$BYPASS" ] || echo "  $NAME: {use: union, uid: mid, parallelism: $MID$(place "$MID_AT")}"
    [ -z "$INSERT" ] || echo "  extra: {use: filter, with: {field: seq, ge: 0}}"
    [ -z "$INSERT2" ] || echo "  more: {use: union}"
    [ -z "$SLOW" ] || echo "  slow: {use: delay, with: {us: 20, mode: sleep}}"
    [ -z "$SIDE" ] ||
        echo "  way: {use: set, with: {fields: {d: 9}}}
  side: {use: file-sink, with: {path: $OUT/side.$sides, commit: ${COMMIT:-flush}}}"
    echo "streams:" && echo "  - {from: numbers, to: first}"
    [ -z "$INSERT" ] || { echo "  - {from: $before, to: extra}" && before=extra; }
    [ -n "$BYPASS" ] || { echo "  - {from: $before, to: $NAME, by: $BY}" && before=$NAME; }
    echo "  - {from: $before, to: $TALLY, by: key}" && before=$TALLY
    [ -z "$INSERT2" ] || { echo "  - {from: $before, to: more}" && before="more"; }
    echo "  - {from: $before, to: last}" && before=last
    [ -z "$SLOW" ] || { echo "  - {from: $before, to: slow}" && before=slow; }
    echo "  - {from: $before, to: store}"
    [ -z "$SIDE" ] || echo "  - {from: $SIDE, to: way, name: by-way}
  - {from: way, to: side}"
}
look() { # SETTINGS...: how a tuple of that version looks in the sinks
    local A B C ADD INSERT INSERT2 BYPASS SIDE BY MID NAME TALLY FUSION TIMEOUT FIELD ERROR THREADS
    local TALLIES AT MID_AT
    settings "$@"
    local main="a=$A b=$((B + ADD)) c=$C" at=''
    [ "$SIDE" = last ] && at="b=$((B + ADD)) c=$C"
    echo "main $main${SIDE:+; side a=$A $at d=9}"
}

# ---- the PE with state: counts its key's tuples, and stamps
cat >"$WORK/tally.c" <<'C'
#include <oxbow/pe.h>

struct tally {
    struct oxb_state *counts;
    struct oxb_const *stamp;
    unsigned key;
    int b, n;
};
static int prepare(struct oxb_pe *pe)
{
    struct tally *t = oxb_self(pe);
    t->counts = oxb_state(pe, "counts");
    t->stamp = oxb_const_i64(pe, VERSION + oxb_param_i64(pe, "add"));
    t->b = oxb_field(oxb_out_schema(pe, 0), "b");
    t->n = oxb_field(oxb_out_schema(pe, 0), "n");
    return OXB_OK;
}
static int bind(struct oxb_pe *pe, unsigned port, const struct oxb_schema *schema)
{
    struct tally *t = oxb_self(pe);
    (void)port;
    t->key = (unsigned)oxb_field(schema, "key");
    return OXB_OK;
}
static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    struct tally *t = oxb_self(pe);
    void *slots[1024];
    (void)port;
    oxb_state_rows(t->counts, in, &t->key, 1, slots);
    struct oxb_batch *out = oxb_derive(pe, 0, in);
    int64_t *n = oxb_new_i64s(pe, out, (unsigned)t->n);
    oxb_set_column(pe, out, (unsigned)t->b, t->stamp);
    uint32_t k = 0;
    OXB_EACH (in, i) {
        n[i] = ++((int64_t *)slots[k++])[AT];
    }
    oxb_forward(pe, 0, out);
    return OXB_OK;
}
static int migrate(struct oxb_pe *pe, const char *state, uint32_t from, const void *old_values,
                   void *new_values)
{
    (void)pe;
    (void)state;
    ((int64_t *)new_values)[AT] = ((const int64_t *)old_values)[from == 1 ? 0 : 1];
    return OXB_OK;
}
#if AT == 1 /* from version 4 on: another state version */
static const struct oxb_value values[] = {{"nothing", OXB_F64}, {"count", OXB_I64}, {0}};
#else
static const struct oxb_value values[] = {{"count", OXB_I64}, {0}};
#endif
static const struct oxb_state_decl states[] = {{"counts", values}, {0}};
static const struct oxb_param params[] = {
    {.name = "add", .type = OXB_P_I64, .fallback = "0", .doc = "added to the stamp"}, {0}};
static const struct oxb_port inputs[] = {{"in", "key: i64", "numbers"}, {0}};
static const struct oxb_port outputs[] = {{"out", "*, b: i64, n: i64", "stamped"}, {0}};
extern const struct oxb_pe_type oxb_pe;
OXB_EXPORT const struct oxb_pe_type oxb_pe = {
    .abi = OXB_ABI, .name = "tally", .doc = "counts by key", .params = params, .inputs = inputs,
    .outputs = outputs, .states = states, .state_version = AT + 1,
    .self_bytes = sizeof(struct tally),
    .migrate = migrate, .prepare = prepare, .bind = bind, .process = process,
};
C
make_tallies() {
    local v
    for v in 1 2 3 4 5; do
        cc -shared -fPIC -O1 -DVERSION=$v -DAT=$((v > 3)) "$WORK/tally.c" -I"$BIN/include" \
            -o "$WORK/tally$v.so" || give_up "the plug-in builds"
    done
}
