/* tests/support/tallies.c - counting by key in two state versions. */
#include "tests/support/tallies.h"

#include "pe/pe.h"

struct tallies_told tallies_told; /* tidy: test state */

static int start(struct oxb_pe *pe)
{
    atomic_store(&tallies_told.started, oxb_state_count(oxb_state(pe, "counts")));
    return OXB_OK;
}

static int count(struct oxb_pe *pe, struct oxb_batch *in, bool both)
{
    void *slots[1024];
    const unsigned key = (unsigned)oxb_field(in->schema, "key");
    uint32_t k = 0;
    oxb_state_rows(oxb_state(pe, "counts"), in, &key, 1, slots);
    struct oxb_batch *out = oxb_derive(pe, 0, in);
    int64_t *n = oxb_new_i64s(pe, out, (unsigned)oxb_field(oxb_out_schema(pe, 0), "count"));
    OXB_EACH (in, i) {
        int64_t *cells = slots[k++];
        if (both) {
            cells[0] += 2;
        }
        n[i] = ++cells[both ? 1 : 0];
        if (both && cells[0] != 2 * cells[1]) {
            return oxb_fail(pe, "the cells do not agree");
        }
    }
    oxb_forward(pe, 0, out);
    return OXB_OK;
}
static int count_one(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port;
    return count(pe, in, false);
}
static int count_both(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port;
    return count(pe, in, true);
}

static int migrate(struct oxb_pe *pe, const char *state, uint32_t from, const void *old_values,
                   void *new_values)
{
    const int64_t *old = old_values;
    int64_t *new = new_values;
    (void)state;
    if (atomic_load(&tallies_told.fails)) {
        return oxb_fail(pe, "as asked");
    }
    atomic_fetch_add(&tallies_told.migrated, 1);
    if (from == 1) {
        new[0] = 2 * old[0];
        new[1] = old[0];
    } else {
        new[0] = old[1];
    }
    return OXB_OK;
}

static const struct oxb_value one_values[] = {{"count", OXB_I64}, {0}};
static const struct oxb_value both_values[] = {{"twice", OXB_I64}, {"count", OXB_I64}, {0}};
static const struct oxb_state_decl one_states[] = {{"counts", one_values}, {0}};
static const struct oxb_state_decl both_states[] = {{"counts", both_values}, {0}};
static const struct oxb_port outputs[] = {{"out", "key: i64, count: i64", "counted"}, {0}};
static const struct oxb_pe_type tally1 = {
    .abi = OXB_ABI, .name = "tally1", .outputs = outputs, .states = one_states,
    .state_version = 1, .start = start, .process = count_one, .migrate = migrate};
static const struct oxb_pe_type tally2 = {
    .abi = OXB_ABI, .name = "tally2", .outputs = outputs, .states = both_states,
    .state_version = 2, .start = start, .process = count_both, .migrate = migrate};

int tallies_register(void)
{
    return oxb_register(&tally1) != 0 || oxb_register(&tally2) != 0 ? -1 : 0;
}
