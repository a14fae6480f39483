/* tests/sim/draft.c - random topologies and upgrades for the simulator, by seed.
 *
 * The generator is the one of the planner's laws (tests/unit/topology/plan_random.h), made smaller
 * and biased to forks and short ways, so that many schedules meet at few places. */
#include "tests/sim/draft.h"

#include "tests/unit/topology/plan_random.h"

#include "core/mem.h"

struct draft {
    struct catalog *catalog;
    struct topology *a, *b;
    struct worker_info workers[PF_WORKERS_MAX];
    struct pgraph *running;
    struct plan *plan;
    struct image *image;
    struct world *world;
    char *yaml_a, *yaml_b;
};

static void thin_out(struct random_draft *d, struct prng *r)
{
    unsigned there = 0, most = 3 + below(r, 5);
    for (unsigned i = 0; i < DRAFT_PES; i++) {
        there += d->pes[i].there;
    }
    while (there > most) {
        struct draft_pe *p = &d->pes[1 + below(r, DRAFT_PES - 1)];
        there -= p->there;
        p->there = false;
    }
    draft_mend(d, r);
}

/* Streams that are there: the general edits mostly meet places where none is. */
static void edit_stream(struct random_draft *d, struct prng *r)
{
    for (unsigned i = below(r, DRAFT_STREAMS), tries = 0; tries < DRAFT_STREAMS; tries++) {
        struct draft_stream *s = &d->streams[(i + tries) % DRAFT_STREAMS];
        if (s->there) {
            unsigned to = below(r, DRAFT_PES), what = below(r, 3);
            if (what > 0 || !may_join(d, s->from, to)) {
                s->part = below(r, 3);
                s->key = below(r, 5) == 0;
            } else {
                s->to = to;
            }
            break;
        }
    }
    draft_mend(d, r);
}

static void edit(struct random_draft *d, struct prng *r)
{
    struct random_draft before = *d;
    if (below(r, 3) == 0) {
        edit_stream(d, r);
    } else {
        draft_edit(d, r);
    }
    for (unsigned i = 0; i < DRAFT_PES; i++) {
        struct draft_pe *p = &d->pes[i];
        if (p->there && before.pes[i].there && p->uid == before.pes[i].uid &&
            p->type != before.pes[i].type) {
            p->name = p->uid = d->next++; /* another type is another PE */
        }
    }
}

static void plan_it(struct draft *d, uint32_t workers_a, uint32_t workers_b, bool drain,
                    uint64_t finals, unsigned off)
{
    struct fail f = {0};
    uint64_t next_id = 1;
    plan_workers(d->workers, workers_b, 2000);
    d->running = physical_expand(d->a, d->workers, workers_a, &placer_default, &next_id, &f);
    if (d->running == NULL) {
        return;
    }
    d->workers[0].draining = drain && workers_b > 1;
    struct cover_options cover = cover_options_of(d->b);
    cover.closures &= ~(unsigned)(((off & OFF_PATH) != 0 ? COVER_PATH : 0) |
                                  ((off & OFF_FORK) != 0 ? COVER_FORK : 0) |
                                  ((off & OFF_ORDER) != 0 ? COVER_ORDER : 0) |
                                  ((off & OFF_ENDS) != 0 ? COVER_ENDS : 0));
    struct plan_input in = {.running = d->running,
                            .next = d->b,
                            .workers = d->workers,
                            .worker_count = workers_b,
                            .base_version = 1,
                            .gen = 1,
                            .cover = &cover,
                            .next_id = next_id};
    d->plan = plan_make(&in);
    if (d->plan->refusal_count == 0 && d->plan->cover != NULL &&
        d->plan->cover->member_count > 0) {
        d->image = image_make(d->plan, finals);
    }
}

static struct catalog *shared_catalog(void) /* one for the life of the process */
{
    static struct catalog *c;
    if (c == NULL) {
        c = plan_catalog(PF_A64, 1, false);
    }
    return c;
}

struct draft *draft_new(uint64_t plan_seed, unsigned off)
{
    struct draft *d = mem_alloc(sizeof *d);
    struct prng r = {plan_seed * 0x9e3779b97f4a7c15u + 1};
    struct random_draft x = draft_make(&r);
    thin_out(&x, &r);
    x.no_fusion = below(&r, 3) == 0;
    d->catalog = shared_catalog();
    d->yaml_a = draft_yaml(&x);
    d->a = must_parse(d->catalog, d->yaml_a);
    for (unsigned n = 1 + below(&r, 4), tries = 0; n > 0 && tries < 32; tries++) {
        struct random_draft before = x;
        edit(&x, &r);
        x.no_fusion = before.no_fusion && below(&r, 8) != 0;
        n -= memcmp(&before, &x, sizeof x) != 0;
    }
    x.per_pe = below(&r, 8) == 0;
    d->yaml_b = draft_yaml(&x);
    d->b = must_parse(d->catalog, d->yaml_b);
    uint32_t workers_a = 1 + below(&r, 3), more = below(&r, 4) == 0 ? 1 : 0;
    bool drain = below(&r, 6) == 0;
    uint64_t finals = prng_u64(&r);
    plan_it(d, workers_a, workers_a + (workers_a < WORKERS ? more : 0), drain, finals, off);
    return d;
}

struct draft *draft_of(const char *a, const char *b, uint32_t workers_a, uint32_t workers_b,
                       bool drain, uint64_t finals, unsigned off)
{
    struct draft *d = mem_alloc(sizeof *d);
    d->catalog = shared_catalog();
    d->yaml_a = mem_printf("oxbow: 1\ntopology: t\n%s", a);
    d->yaml_b = mem_printf("oxbow: 1\ntopology: t\n%s", b);
    d->a = must_parse(d->catalog, d->yaml_a);
    d->b = must_parse(d->catalog, d->yaml_b);
    plan_it(d, workers_a, workers_b, drain, finals, off);
    return d;
}

void draft_free(struct draft *d)
{
    world_free(d->world);
    image_free(d->image);
    plan_free(d->plan);
    pgraph_free(d->running);
    topology_free(d->a);
    topology_free(d->b);
    mem_free(d->yaml_a);
    mem_free(d->yaml_b);
    mem_free(d);
}

struct world *draft_world(struct draft *d)
{
    if (d->world == NULL && d->image != NULL && d->image->amplification <= 250) {
        d->world = world_new(d->image);
    }
    return d->world;
}

const struct image *draft_image(const struct draft *d)
{
    return d->image;
}

char *draft_text(const struct draft *d)
{
    char *plan = d->plan != NULL ? plan_text(d->plan) : mem_dup("no plan\n");
    char *text = mem_printf("--- V\n%s--- V'\n%s--- plan\n%s", d->yaml_a, d->yaml_b, plan);
    mem_free(plan);
    return text;
}
