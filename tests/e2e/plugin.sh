#!/bin/bash
# tests/e2e/plugin.sh - a plug-in named by a relative path is built as a user would, reaches workers
# that never saw it, and the versions and files that do not fit are refused.
source "$(dirname "$0")/lib.sh"

cat >"$WORK/triple.c" <<'C'
#include <oxbow/pe.h>

static int triple(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    int64_t *seq = oxb_own_i64s(pe, in, 0);
    (void)port;
    OXB_EACH (in, i) {
        seq[i] *= 3;
    }
    oxb_forward(pe, 0, in);
    return OXB_OK;
}
static const struct oxb_port outputs[] = {{.name = "out", .schema = "*", .doc = "seq tripled"},
                                          {.name = NULL}};
extern const struct oxb_pe_type oxb_pe;
OXB_EXPORT const struct oxb_pe_type oxb_pe = {
    .abi = OXB_ABI + ABI_SHIFT, .name = "triple", .doc = "seq = 3 seq", .outputs = outputs,
    .state_version = 1, .process = triple,
};
C
build() { # FILE DEFINES...
    local out=$1
    shift
    cc -shared -fPIC "$@" "$WORK/triple.c" -I"$BIN/include" -o "$WORK/$out"
}
check "a plug-in builds with the public header alone" build triple.so -DABI_SHIFT=0
build other.so '-DABI_SHIFT=(1u<<16)'
echo 'not a shared object' >"$WORK/broken.so"

topology() { # NAME USE
    cat <<YAML
oxbow: 1
topology: $1
pes:
  numbers: {use: sequence, with: {count: 10000}}
  triple: {use: $2, parallelism: 2}
  store: {use: file-sink, with: {path: $WORK/$1, format: tsv}}
streams:
  - {from: numbers, to: triple}
  - {from: triple, to: store}
YAML
}
start_cluster 2
for use in ./triple.so ./triple.so:triple; do
    name=ship${use##*[./]} && name=${name//:/-}
    topology "$name" "$use" >"$WORK/$name.yaml"
    (cd / && timeout -k 5 30 "$BIN/oxbow" --master "$URL" deploy "$WORK/$name.yaml") \
        >"$WORK/deploy.out" 2>"$WORK/deploy.err"
    check_same "deploys $use from another folder" $? 0
    wait_for 20 state_is "$name" finished
    check_same "$use: finished" "$(topology_state "$name")" finished
    check "$use: every number tripled, once" \
        cmp -s <(cut -f1 "$WORK/$name" | sort -n) <(seq 0 3 29997)
done

refuse() { # NAME USE WORD
    topology refused "$2" >"$WORK/refused.yaml"
    timeout -k 5 20 "$BIN/oxbow" --master "$URL" deploy "$WORK/refused.yaml" >"$WORK/out" 2>&1
    check_same "refuses $1" $? 3
    check "refuses $1: says $3" grep -qi -- "$3" "$WORK/out"
}
refuse "another ABI" ./other.so "version 2[.]"
refuse "a file that is no plug-in" ./broken.so broken.so
refuse "a file that is not there" ./nowhere.so nowhere.so
refuse "a symbol that is not in it" ./triple.so:quadruple quadruple
check "the master lives" kill -0 "$MASTER_PID"
finish
