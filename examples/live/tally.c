/* tally.c - counts words; a second version, built with -DVERSION=2, also
 * remembers how much of each count it inherited from the first.
 *
 * The count of a word is keyed state. Version 2 keeps two numbers per word
 * where version 1 kept one, so it raises the state version and says in
 * `migrate` what becomes of an entry. The engine migrates while version 1 goes
 * on counting, and hands over what changed meanwhile at the cut. */
#include <oxbow/pe.h>

#include <string.h>

#ifndef VERSION
#define VERSION 1
#endif

struct self {
    struct oxb_state *words;
    unsigned word; /* field number in the input */
};

static int prepare(struct oxb_pe *pe)
{
    struct self *self = oxb_self(pe);
    self->words = oxb_state(pe, "words");
    return OXB_OK;
}

static int bind(struct oxb_pe *pe, unsigned port, const struct oxb_schema *schema)
{
    struct self *self = oxb_self(pe);
    (void)port;
    self->word = (unsigned)oxb_field(schema, "word");
    return OXB_OK;
}

static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    struct self *self = oxb_self(pe);
    void *slots[1024];
    (void)port;
    int r = oxb_state_rows(self->words, in, &self->word, 1, slots);
    if (r != OXB_OK) {
        return r;
    }
    for (uint32_t k = 0; k < in->live; k++) {
        ((int64_t *)slots[k])[0]++;
    }
    return OXB_OK;
}

static bool emit(void *arg, struct oxb_key key, void *cells)
{
    struct oxb_pe *pe = arg;
    struct oxb_writer *w = oxb_writer(pe, 0);
    const int64_t *n = cells;
    uint32_t row = oxb_row(w);
    oxb_put_key(w, oxb_out_schema(pe, 0), 0, 1, row, key);
    oxb_put_i64(w, 1, row, n[0]);
#if VERSION == 2
    oxb_put_i64(w, 2, row, n[1]);
#else
    oxb_put_i64(w, 2, row, 0);
#endif
    oxb_commit(w);
    return true;
}

static int finish(struct oxb_pe *pe)
{
    struct self *self = oxb_self(pe);
    oxb_state_each(self->words, emit, pe);
    return OXB_OK;
}

#if VERSION == 2
static int migrate(struct oxb_pe *pe, const char *state, uint32_t from_version,
                   const void *old_values, void *new_values)
{
    const int64_t *was = old_values;
    int64_t *is = new_values;
    if (from_version != 1) {
        return oxb_fail(pe, "state %s has version %u", state, (unsigned)from_version);
    }
    is[0] = was[0];
    is[1] = was[0];
    return OXB_OK;
}
#endif

static const struct oxb_port inputs[] = {
    {.name = "in", .schema = "word: str", .doc = "words"},
    {.name = NULL},
};
static const struct oxb_port outputs[] = {
    {.name = "out", .schema = "word: str, count: i64, inherited: i64", .doc = "at the end"},
    {.name = NULL},
};
static const struct oxb_value values[] = {
    {.name = "count", .type = OXB_I64},
#if VERSION == 2
    {.name = "inherited", .type = OXB_I64},
#endif
    {.name = NULL},
};
static const struct oxb_state_decl states[] = {
    {.name = "words", .values = values},
    {.name = NULL},
};

OXB_EXPORT const struct oxb_pe_type oxb_pe = {
    .abi = OXB_ABI,
    .flags = OXB_MANY,
    .name = "tally",
    .doc = "counts words",
    .inputs = inputs,
    .outputs = outputs,
    .states = states,
    .state_version = VERSION,
    .self_bytes = sizeof(struct self),
    .prepare = prepare,
    .bind = bind,
    .process = process,
    .finish = finish,
#if VERSION == 2
    .migrate = migrate,
#endif
};
