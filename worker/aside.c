/* worker/aside.c - groups out of the tables and back, by pointer. */
#include "worker/aside.h"

#include "worker/instance.h"
#include "worker/stage.h"

#include <assert.h>
#include <string.h>

bool aside_is_empty(const struct instance *i)
{
    return atomic_load(&i->aside) == NULL;
}

bool aside_groups(const struct instance *i, bool *groups)
{
    const struct stage *s = atomic_load(&i->aside);
    memset(groups, 0, KEY_GROUPS * sizeof *groups);
    if (s == NULL) {
        return false;
    }
    memcpy(groups, s->groups, sizeof s->groups);
    return true;
}

void aside_join(struct instance *i)
{
    struct stage *s = atomic_exchange(&i->aside, NULL);
    struct fail f = {0};
    if (s != NULL) {
        enum err e = stage_into(s, i->pe, &f);
        assert(e == ERR_OK); /* I1 */
        (void)e;
        stage_free(s);
    }
}

void aside_put(struct instance *i, const bool *groups)
{
    bool all[KEY_GROUPS];
    bool any = aside_groups(i, all);
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        all[g] = all[g] || groups[g];
        any = any || all[g];
    }
    aside_join(i);
    if (any && pe_state_count(i->pe) > 0) {
        struct stage *s = stage_new(i->pe, all);
        stage_from(s, i->pe);
        atomic_store(&i->aside, s);
    }
}

void aside_free(struct instance *i)
{
    stage_free(atomic_exchange(&i->aside, NULL));
}
