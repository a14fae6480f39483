/* tests/unit/topology/plan_fixture.h - a catalogue, workers, a running graph and a plan in few
 * words.
 *
 * The types: src, live (sources; live is bound to a port and cannot be read again), map, many,
 * keyed (state by key), op (state that cannot be divided), sink (outside effects), file (a sink on
 * its machine), st (./st.so: keyed state whose code, version and `migrate` the tests choose). */
#ifndef OXB_TESTS_PLAN_FIXTURE_H
#define OXB_TESTS_PLAN_FIXTURE_H

#include "tests/unit/topology/model_fixture.h"
#include "topology/plan.h"

#include "core/mem.h"
#include "core/strbuf.h"

#define PF_V "\"params\":[{\"name\":\"v\",\"type\":\"i64\",\"default\":0}]"
#define PF_BY                                                                                      \
    "\"params\":[{\"name\":\"v\",\"type\":\"i64\",\"default\":0},"                                 \
    "{\"name\":\"by\",\"type\":\"fields\"}]"
#define PF_STATES "\"states\":[{\"name\":\"n\",\"values\":[{\"name\":\"n\",\"type\":\"i64\"}]}]"
#define PF_A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define PF_B64 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static const char *const plan_types[] = {
    "{\"name\":\"src\",\"source\":true,\"replayable\":true,\"snapshots\":true," PF_V
    ",\"inputs\":[],\"outputs\":[{\"name\":\"out\",\"schema\":\"seq: i64, key: i64\"},"
    "{\"name\":\"bad\",\"schema\":\"seq: i64, key: i64\"}]}",
    "{\"name\":\"live\",\"source\":true,\"local\":true," PF_V
    ",\"inputs\":[],\"outputs\":[{\"name\":\"out\",\"schema\":\"seq: i64, key: i64\"}]}",
    "{\"name\":\"map\",\"merges\":true," PF_V "," FIXTURE_IN "," FIXTURE_PASS "}",
    "{\"name\":\"many\",\"merges\":true,\"many\":true," PF_V "," FIXTURE_IN "," FIXTURE_PASS "}",
    "{\"name\":\"keyed\",\"merges\":true," PF_BY "," PF_STATES "," FIXTURE_IN "," FIXTURE_PASS "}",
    "{\"name\":\"op\",\"merges\":true,\"snapshots\":true," PF_V "," FIXTURE_IN "," FIXTURE_PASS "}",
    "{\"name\":\"sink\",\"merges\":true,\"effects\":true," PF_V "," FIXTURE_IN ",\"outputs\":[]}",
    "{\"name\":\"file\",\"merges\":true,\"effects\":true,\"local\":true,\"snapshots\":true," PF_V
    "," FIXTURE_IN ",\"outputs\":[]}",
};

/* plan_catalog - with st of this digest, version and `migrate`; free with catalog_free. */
static inline struct catalog *plan_catalog(const char *digest, unsigned version, bool migrates)
{
    struct catalog *c = fixture_catalog();
    struct fail f;
    fixture_add(c, plan_types, sizeof plan_types / sizeof plan_types[0]);
    char *st =
        mem_printf("{\"name\":\"st\",\"merges\":true,\"state_version\":%u,\"migrates\":%s," PF_V
                   "," PF_STATES "," FIXTURE_IN "," FIXTURE_PASS "}",
                   version, migrates ? "true" : "false");
    if (catalog_add(c, st, "./st.so", digest, &f) != ERR_OK) {
        abort();
    }
    mem_free(st);
    return c;
}

static inline int plan_set_up(void **state)
{
    *state = plan_catalog(PF_A64, 1, false);
    return 0;
}

#define PF_WORKERS_MAX 4

static inline void plan_workers(struct worker_info *w, uint32_t count, uint32_t slots)
{
    for (uint32_t i = 0; i < count; i++) {
        w[i] = (struct worker_info){.id = i + 1, .incarnation = 100 + i, .slots = slots};
        snprintf(w[i].name, sizeof w[i].name, "w%u", i);
        snprintf(w[i].host, sizeof w[i].host, "host%u", i);
    }
}

struct scene { /* V running, V' to come */
    struct topology *a, *b;
    struct worker_info workers[PF_WORKERS_MAX];
    uint32_t worker_count;
    uint64_t next_id;
    struct pgraph *running;
    struct plan_input in;
    struct plan *plan;
};

static inline void scene_init(struct scene *s, struct topology *a TAKES, struct topology *b TAKES,
                              uint32_t workers)
{
    struct fail f = {0};
    *s = (struct scene){.a = a, .b = b, .worker_count = workers, .next_id = 1};
    plan_workers(s->workers, workers, 2000);
    s->running = physical_expand(a, s->workers, workers, &placer_default, &s->next_id, &f);
    if (s->running == NULL) {
        fail_msg("%s", f.what);
    }
    s->in = (struct plan_input){.running = s->running,
                                .next = b,
                                .workers = s->workers,
                                .worker_count = workers,
                                .base_version = 1,
                                .gen = 1,
                                .next_id = s->next_id};
}

static inline struct plan *scene_plan(struct scene *s)
{
    plan_free(s->plan);
    s->plan = plan_make(&s->in);
    return s->plan;
}

/* scene_of - from two lists of PEs and streams, planned. */
static inline struct plan *scene_of(struct scene *s, const struct catalog *ca, const char *a,
                                    const struct catalog *cb, const char *b, uint32_t workers)
{
    char *x = mem_printf("oxbow: 1\ntopology: t\n%s", a);
    char *y = mem_printf("oxbow: 1\ntopology: t\n%s", b);
    scene_init(s, must_parse(ca, x), must_parse(cb, y), workers);
    mem_free(x);
    mem_free(y);
    return scene_plan(s);
}

static inline void scene_fini(struct scene *s)
{
    plan_free(s->plan);
    pgraph_free(s->running);
    topology_free(s->a);
    topology_free(s->b);
}

/* pe_number - of a topology by name; fails the test when there is none. */
static inline uint32_t pe_number(const struct topology *t, const char *name)
{
    const struct pe *p = topology_pe(t, name);
    assert_non_null(p);
    return (uint32_t)(p - t->pes);
}

/* member_of - instance `index` of a PE in the covering set, looked up in V' and then in V; NULL. */
static inline const struct cover_member *member_of(const struct plan *p, const char *pe,
                                                   uint32_t index)
{
    const struct cover *c = p->cover;
    if (topology_pe(p->diff->to, pe) != NULL) {
        uint32_t n = pe_number(p->diff->to, pe);
        if (index < p->diff->to->pes[n].parallelism) {
            uint32_t m = c->of_new[p->match->first_new[n] + index];
            return m != INDEX_NONE ? &c->members[m] : NULL;
        }
    }
    uint32_t m = c->of_old[p->match->first_old[pe_number(p->diff->from, pe)] + index];
    return m != INDEX_NONE ? &c->members[m] : NULL;
}

static inline bool is_refused(const struct plan *p, const char *text)
{
    for (size_t i = 0; i < p->refusal_count; i++) {
        if (strstr(p->refusals[i].what, text) != NULL) {
            return true;
        }
    }
    return false;
}

static inline bool has_note(const struct plan *p, const char *text)
{
    for (size_t i = 0; i < p->note_count; i++) {
        if (strstr(p->notes[i], text) != NULL) {
            return true;
        }
    }
    return false;
}

static inline size_t count_of(const struct plan *p, enum instruction_kind kind)
{
    size_t count = 0;
    for (size_t i = 0; i < p->instruction_count; i++) {
        count += p->instructions[i].kind == kind;
    }
    return count;
}

#endif
