/* worker/stage.c - filling and emptying stages. */
#include "worker/stage.h"

#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

struct stage *stage_new(struct oxb_pe *like, const bool *groups)
{
    struct stage *s = mem_alloc(sizeof *s);
    memcpy(s->groups, groups, sizeof s->groups);
    s->state_count = pe_state_count(like);
    s->states = mem_array(s->state_count, sizeof(struct oxb_state *));
    for (unsigned n = 0; n < s->state_count; n++) {
        s->states[n] = state_new_like(pe_state_at(like, n));
    }
    return s;
}

void stage_free(struct stage *s)
{
    if (s == NULL) {
        return;
    }
    for (unsigned n = 0; n < s->state_count; n++) {
        state_free(s->states[n]);
    }
    free(s->other);
    mem_free(s->states);
    mem_free(s);
}

static struct oxb_state *state_of(struct oxb_pe *pe, const struct oxb_state *like)
{
    for (unsigned n = 0; n < pe_state_count(pe); n++) {
        struct oxb_state *s = pe_state_at(pe, n);
        if (strcmp(state_decl(s)->name, state_decl(like)->name) == 0) {
            return state_fits(s, like) ? s : NULL;
        }
    }
    return NULL;
}

const char *stage_misfit(const struct stage *s, struct oxb_pe *pe)
{
    for (unsigned n = 0; n < s->state_count; n++) {
        if (state_of(pe, s->states[n]) == NULL) {
            return state_decl(s->states[n])->name;
        }
    }
    return NULL;
}

enum err stage_pieces(struct stage *s, struct oxb_pe *code, const char *state, uint32_t version,
                      const void *data, size_t bytes, struct fail *f)
{
    for (unsigned n = 0; n < s->state_count; n++) {
        if (strcmp(state_decl(s->states[n])->name, state) == 0) {
            return pe_take_pieces(code, state, version, s->states[n], data, bytes, f);
        }
    }
    return fail_set(f, ERR_NOTFOUND, "use the same code on both workers",
                    "the PE that takes over has no state `%.80s`", state);
}

void stage_from(struct stage *s, struct oxb_pe *giver)
{
    for (unsigned n = 0; n < s->state_count; n++) {
        struct oxb_state *from = state_of(giver, s->states[n]);
        for (unsigned g = 0; from != NULL && g < KEY_GROUPS; g++) {
            if (s->groups[g]) {
                (void)state_take_group(s->states[n], from, g); /* they fit: state_of */
            }
        }
    }
}

enum err stage_into(struct stage *s, struct oxb_pe *taker, struct fail *f)
{
    const char *misfit = stage_misfit(s, taker);
    if (misfit != NULL) {
        return fail_set(f, ERR_VERSION, "keep the state's values, or drop it",
                        "the PE that takes over has no state `%s` of these values", misfit);
    }
    for (unsigned n = 0; n < s->state_count; n++) {
        struct oxb_state *to = state_of(taker, s->states[n]);
        for (unsigned g = 0; g < KEY_GROUPS; g++) {
            if (s->groups[g]) {
                (void)state_take_group(to, s->states[n], g);
            }
        }
    }
    return ERR_OK;
}

uint64_t stage_entries(const struct stage *s)
{
    uint64_t entries = 0;
    for (unsigned n = 0; n < s->state_count; n++) {
        entries += oxb_state_count(s->states[n]);
    }
    return entries;
}
