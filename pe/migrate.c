/* pe/migrate.c - keyed entries of another state_version, turned into a PE's own by its `migrate`.
 *
 * Runs on:    whoever fills a table for an instance that has not started: a helper, as a rule.
 * Method:     an entry's new cells are written by the PE into an array of their own, with blobs
 *             that count for the PE's own table, and copied from there: where they go is a table
 *             that the PE does not know.
 * Invariants: G1 after an entry nothing of it counts for the PE's own table.
 * See:        pe/state.h (struct state_migration), worker/stage.h, pe/pe.h (migrate) */
#include "pe/instance.h"
#include "pe/state.h"

#include <string.h>

struct migration {
    struct state_migration how; /* first: the callback gets it */
    struct oxb_pe *pe;
    const char *state;
    struct oxb_state *own;      /* the PE's table of that name */
    uint32_t from;
};

static bool migrate_entry(struct state_migration *how, struct oxb_state *to, uint64_t *cells)
{
    struct migration *m = (struct migration *)how;
    struct oxb_pe *pe = m->pe;
    const struct oxb_value *values = state_decl(to)->values;
    uint64_t new[FIELDS_MAX];
    size_t count = 0;
    for (; values[count].name != NULL; count++) {
        new[count] = 0;
    }
    int result = pe->type->migrate(pe, m->state, m->from, how->old, new);
    for (size_t i = 0; i < count; i++) {
        if (values[i].type == OXB_BYTES) {
            struct oxb_str blob = oxb_cell_get(&new[i]);
            oxb_cell_set(to, &cells[i], blob.p, blob.len);
            oxb_cell_set(m->own, &new[i], NULL, 0); /* G1 */
        } else {
            cells[i] = new[i];
        }
    }
    if (result >= 0 && !pe->failed) {
        return true;
    }
    (void)fail_set(&how->fail, ERR_INVALID, "mend `migrate`, or set `state: drop` to begin anew",
                   "%s: migrate of `%.80s` from version %u: %.300s", oxb_name(pe), m->state,
                   m->from, pe->failed ? pe->error : "it failed without saying why");
    pe->failed = false;
    return false;
}

/* Return: how to take entries of that version, NULL when as they are. */
static enum err begin(struct oxb_pe *pe, const char *state, uint32_t version, struct migration *m,
                      struct state_migration **how, struct fail *f)
{
    *how = NULL;
    if (version == pe->type->state_version) {
        return ERR_OK;
    }
    assert(pe->phase == PE_PREPARED);
    *m = (struct migration){.how = {.entry = migrate_entry},
                            .pe = pe,
                            .state = state,
                            .own = oxb_state(pe, state),
                            .from = version};
    if (pe->type->migrate == NULL) {
        return fail_set(f, ERR_VERSION, "give the code a `migrate`, or set `state: drop`",
                        "state `%s` has version %u, the code of %s has version %u and no `migrate`",
                        state, version, oxb_name(pe), pe->type->state_version);
    }
    if (m->own == NULL) {
        return fail_set(f, ERR_NOTFOUND, "declare it in the new code too",
                        "the code of %s has no state `%s`", oxb_name(pe), state);
    }
    *how = &m->how;
    return ERR_OK;
}

enum err pe_take_group(struct oxb_pe *pe, const char *state, uint32_t version,
                       struct oxb_state *to, unsigned group, const void *data, size_t bytes,
                       struct fail *f)
{
    struct migration m;
    struct state_migration *how;
    enum err e = begin(pe, state, version, &m, &how, f);
    return e == ERR_OK ? state_migrate_group(to, group, data, bytes, how, f) : e;
}

enum err pe_take_pieces(struct oxb_pe *pe, const char *state, uint32_t version,
                        struct oxb_state *to, const void *data, size_t bytes, struct fail *f)
{
    struct migration m;
    struct state_migration *how;
    enum err e = begin(pe, state, version, &m, &how, f);
    return e == ERR_OK ? state_migrate_pieces(to, data, bytes, how, f) : e;
}
