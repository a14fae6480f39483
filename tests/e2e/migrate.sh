#!/bin/bash
# tests/e2e/migrate.sh - code with keyed state is replaced by code with another state version, which
# takes the entries over through its `migrate`, while numbers flow.
#
# numbers -> tally (by key, emit each) -> store.  At the end the counts of every key in the file are
# 1, 2, 3 ... in order, and each key has as many as the numbers sent say.  From version 2 on an
# entry also holds twice its count and a text made of what version 1 had; tally fails when they do
# not agree.
source "$(dirname "$0")/lib.sh"

KEYS=${KEYS:-400000}

cat >"$WORK/tally.c" <<'C'
#include <oxbow/pe.h>
#include <stdio.h>

static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    void *slots[1024];
    const unsigned key = (unsigned)oxb_field(in->schema, "key");
    const struct oxb_schema *schema = oxb_out_schema(pe, 0);
    (void)port;
    oxb_state_rows(oxb_state(pe, "counts"), in, &key, 1, slots);
    struct oxb_batch *out = oxb_derive(pe, 0, in);
    int64_t *n = oxb_new_i64s(pe, out, (unsigned)oxb_field(schema, "n"));
    int64_t *v = oxb_new_i64s(pe, out, (unsigned)oxb_field(schema, "v"));
    uint32_t k = 0;
    OXB_EACH (in, i) {
        int64_t *cells = slots[k++];
        v[i] = STATE;
#if STATE == 1
        n[i] = ++cells[0];
#else
        cells[0] += 2;
        n[i] = ++cells[1];
        if (cells[0] != 2 * cells[1]) {
            return oxb_fail(pe, "the cells do not agree");
        }
        struct oxb_str text = oxb_cell_get(&cells[2]);
        long long before = 0;
        char copy[32];
        snprintf(copy, sizeof copy, "%.*s", (int)text.len, text.p);
        if (text.len > 0 && (sscanf(copy, "had %lld", &before) != 1 || before >= n[i])) {
            return oxb_fail(pe, "the text does not agree");
        }
#endif
    }
    oxb_forward(pe, 0, out);
    return OXB_OK;
}
#if STATE > 1
static int migrate(struct oxb_pe *pe, const char *state, uint32_t from, const void *old_values,
                   void *new_values)
{
    const int64_t *old = old_values;
    int64_t *new = new_values;
    struct oxb_state *s = oxb_state(pe, state);
    if (from == 1) {
        if (oxb_param_has(pe, "limit") && old[0] > oxb_param_i64(pe, "limit")) {
            return oxb_fail(pe, "a count of %lld is too much", (long long)old[0]);
        }
        char text[32];
        int bytes = snprintf(text, sizeof text, "had %lld", (long long)old[0]);
        new[0] = 2 * old[0];
        new[1] = old[0];
        oxb_cell_set(s, &new[2], text, (uint32_t)bytes);
        return OXB_OK;
    }
    struct oxb_str text = oxb_cell_get(&old[2]);
    new[0] = old[0];
    new[1] = old[1];
    oxb_cell_set(s, &new[2], text.p, text.len);
    return OXB_OK;
}
#define MIGRATE migrate
static const struct oxb_value values[] = {
    {"twice", OXB_I64}, {"count", OXB_I64}, {"text", OXB_BYTES}, {0}};
#else
#define MIGRATE NULL
static const struct oxb_value values[] = {{"count", OXB_I64}, {0}};
#endif
static const struct oxb_state_decl states[] = {{"counts", values}, {0}};
static const struct oxb_param params[] = {
    {.name = "limit", .type = OXB_P_I64, .doc = "the largest count that is migrated"}, {0}};
static const struct oxb_port outputs[] = {{"out", "key: i64, n: i64, v: i64", "counted"}, {0}};
extern const struct oxb_pe_type oxb_pe;
OXB_EXPORT const struct oxb_pe_type oxb_pe = {
    .abi = OXB_ABI, .name = "tally", .params = params, .outputs = outputs, .states = states,
    .state_version = STATE, .process = process, .migrate = MIGRATE,
};
C
for v in 1 2 3; do
    cc -shared -fPIC -O1 -DSTATE=$v "$WORK/tally.c" -I"$BIN/include" -o "$WORK/tally$v.so" ||
        give_up "the plug-in builds"
done

topology() { # VERSION [SETTINGS]
    cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: migrate
pes:
  numbers: {use: sequence, with: {rate: ${RATE:-80000}, keys: $KEYS}}
  tally: {use: ./tally$1.so, uid: tally${2:+, $2}}
  store: {use: file-sink, with: {path: $WORK/out, format: tsv, commit: flush}}
streams:
  - {from: numbers, to: tally, by: key}
  - {from: tally, to: store}
YAML
}
upgrade() { # exit code of the upgrade
    timeout -k 5 120 "$BIN/oxbow" --master "$URL" -o json upgrade "$WORK/t.yaml" --yes \
        >"$WORK/receipt" 2>"$WORK/upgrade.err"
    echo $?
}
migrated() { # WHAT: the change was made, nothing was lost, all entries came along
    check_same "$1" "$(upgrade)" 0
    [ ! -s "$WORK/upgrade.err" ] || sed 's/^/# /' "$WORK/upgrade.err"
    check_same "$1: nothing lost, doubled, reordered" \
        "$(grep -cE '^  "(lost|duplicated|reordered)": 0,|"result": "done"' "$WORK/receipt")" 4
    check_same "$1: every entry was moved" \
        "$(sed -nE 's/.*"state_entries_moved": ([0-9]+).*/\1/p' "$WORK/receipt")" $KEYS
    [ -z "${SHOW:-}" ] || grep -E 'max|state_|_ms' "$WORK/receipt" | tr -d '\n' | sed 's/^/# /'
    [ -z "${SHOW:-}" ] || echo
    check "$1: numbers flow on" wait_for 20 lines_above "$WORK/out" \
        $(($(lines_in "$WORK/out") + 20000))
}

start_master
for w in w1 w2; do start_worker $w --label "name=$w"; done
topology 1 'place: {labels: {name: w1}}'
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "deploys" "$(tail -n1 "$WORK/deploy.err")"
check "every key is there" wait_for 60 lines_above "$WORK/out" $((KEYS + 20000))

topology 2 'place: {labels: {name: w1}}, with: {limit: 0}'
code=$(upgrade)
check "a migrate that fails refuses the change" [ "$code" != 0 ]
check "with what it says" grep -q 'a count of [0-9]* is too much' "$WORK/upgrade.err"
check "the old code runs on" \
    wait_for 10 lines_above "$WORK/out" $(($(lines_in "$WORK/out") + 20000))
check "and is what is deployed" state_is migrate running

topology 2 'place: {labels: {name: w1}}'
migrated "in place"
timeout -k 5 60 "$BIN/oxbow" --master "$URL" rollback migrate >"$WORK/rollback.out" \
    2>"$WORK/rollback.err"
check "a rollback without migrate is refused" [ $? != 0 ]
check "for that reason" grep -q 'version 2, its new code has version 1 and no `migrate`' \
    "$WORK/rollback.err"
topology 3 'place: {labels: {name: w1}}, parallelism: 3'
migrated "in place and over more instances"
topology 2 'place: {labels: {name: w2}}, parallelism: 2'
migrated "to another worker, over fewer instances"
topology 3 'place: {labels: {name: w1}}'
migrated "back, to one"
timeout -k 5 60 "$BIN/oxbow" --master "$URL" stop migrate >"$WORK/stop.out" 2>&1
check_same "stop" $? 0
awk -F'\t' -v keys="$KEYS" '
    { if ($2 != ++n[$1]) bad++ }
    END { for (k = 0; k < keys; k++) {
              want = int((NR - 1 - k) / keys) + 1
              if (n[k] != want) wrong++ }
          printf "bad=%d wrong=%d\n", bad, wrong }' "$WORK/out" >"$WORK/checked"
check_same "every count once and in order ($(lines_in "$WORK/out"))" "$(cat "$WORK/checked")" \
    "bad=0 wrong=0"
check_same "all three versions counted" "$(cut -f3 "$WORK/out" | sort -u | paste -sd' ')" "1 2 3"

# ---- what has ended: its entries are migrated all the same, and nothing is said again
ended() { # VERSION
    cat >"$WORK/t.yaml" <<YAML
oxbow: 1
topology: ended
checkpoint: {every: 100ms}
pes:
  numbers: {use: sequence, with: {count: 5000, keys: 500}, place: {labels: {name: w1}}}
  tally: {use: ./tally$1.so, uid: tally, place: {labels: {name: w1}}}
  store: {use: file-sink, with: {path: $WORK/ended, format: tsv}, place: {labels: {name: w1}}}
  other: {use: sequence, with: {rate: 1000}, place: {labels: {name: w2}}}
  drop: {use: null-sink, place: {labels: {name: w2}}}
streams:
  - {from: numbers, to: tally, by: key}
  - {from: tally, to: store}
  - {from: other, to: drop}
YAML
}
ended 1
oxbow deploy "$WORK/t.yaml" >"$WORK/deploy.out" 2>"$WORK/deploy.err" ||
    give_up "the other deploys" "$(tail -n1 "$WORK/deploy.err")"
check "ended: all is written" wait_for 20 lines_above "$WORK/ended" 4999
for v in 2 3; do
    ended $v
    check_same "ended: to version $v" "$(upgrade)" 0
    check_same "ended: every entry was moved" \
        "$(sed -nE 's/.*"state_entries_moved": ([0-9]+).*/\1/p' "$WORK/receipt")" 500
    oxbow checkpoint ended >/dev/null 2>"$WORK/checkpoint.err"
    check_same "ended: saved under version $v" $? 0
done
kill -9 "${WORKER_PID[w1]}"
start_worker w1 --label name=w1
check "ended: its worker dies and comes back" wait_for 20 state_is ended running
oxbow checkpoint ended >/dev/null 2>"$WORK/checkpoint.err"
check_same "ended: and is saved again" $? 0
oxbow stop ended --now >/dev/null 2>&1
check_same "ended: nothing is said again" "$(lines_in "$WORK/ended")" 5000
finish
