/* tests/unit/topology/plan_random.h - random topologies and random edits of them, by seed.
 *
 * PEs are kept in a fixed order in which streams go forward only, so that every draft is a DAG. All
 * schemas are the same; forks, merges, keyed and broadcast streams and parallelism are frequent. */
#ifndef OXB_TESTS_PLAN_RANDOM_H
#define OXB_TESTS_PLAN_RANDOM_H

#include "tests/unit/topology/plan_fixture.h"

#include "core/prng.h"

#define DRAFT_PES 9
#define DRAFT_STREAMS 24

enum draft_type { D_SRC, D_MAP, D_MANY, D_KEYED, D_SINK };

struct draft_pe {
    bool there;
    enum draft_type type;
    unsigned uid, name; /* name: pN; uid: uN */
    unsigned parallelism, v, retries;
};

struct draft_stream {
    bool there;
    unsigned from, to, part; /* part: enum partitioning */
    unsigned key;            /* 0: key, 1: seq */
    unsigned name;           /* 0: default */
};

struct random_draft {
    struct draft_pe pes[DRAFT_PES];
    struct draft_stream streams[DRAFT_STREAMS];
    unsigned next; /* names and uids */
    bool per_pe, no_fusion;
};

static inline unsigned below(struct prng *r, unsigned bound)
{
    return (unsigned)prng_below(r, bound);
}

static inline bool may_join(const struct random_draft *d, unsigned from, unsigned to)
{
    return from < to && d->pes[from].there && d->pes[to].there && d->pes[from].type != D_SINK &&
           d->pes[to].type != D_SRC;
}

static inline void draft_join(struct random_draft *d, struct prng *r, unsigned from, unsigned to)
{
    for (unsigned i = 0; i < DRAFT_STREAMS; i++) {
        const struct draft_stream *s = &d->streams[i];
        if (s->there && s->from == from && s->to == to) {
            return;
        }
    }
    for (unsigned i = 0; i < DRAFT_STREAMS; i++) {
        if (!d->streams[i].there) {
            static const unsigned parts[] = {PART_BALANCED, PART_BALANCED, PART_KEYED, PART_KEYED,
                                             PART_BROADCAST};
            d->streams[i] = (struct draft_stream){true,
                                                  from,
                                                  to,
                                                  parts[below(r, 5)],
                                                  below(r, 5) == 0,
                                                  below(r, 3) == 0 ? ++d->next : 0};
            return;
        }
    }
}

/* draft_mend - every PE but a source has an input again. */
static inline void draft_mend(struct random_draft *d, struct prng *r)
{
    for (unsigned i = 0; i < DRAFT_STREAMS; i++) {
        struct draft_stream *s = &d->streams[i];
        s->there = s->there && may_join(d, s->from, s->to);
        for (unsigned k = 0; k < i; k++) { /* one is enough */
            const struct draft_stream *o = &d->streams[k];
            s->there = s->there && !(o->there && o->from == s->from && o->to == s->to);
        }
    }
    for (unsigned to = 0; to < DRAFT_PES; to++) {
        bool fed = !d->pes[to].there || d->pes[to].type == D_SRC;
        for (unsigned i = 0; i < DRAFT_STREAMS; i++) {
            fed = fed || (d->streams[i].there && d->streams[i].to == to);
        }
        for (unsigned k = below(r, to + 1), n = 0; !fed && n < to; k = (k + 1) % to, n++) {
            if (k < to && may_join(d, k, to)) {
                draft_join(d, r, k, to);
                fed = true;
            }
        }
        if (!fed) {
            d->pes[to].type = D_SRC;
        }
    }
    for (unsigned i = 0; i < DRAFT_STREAMS; i++) { /* state by key wants its tuples by key */
        struct draft_stream *s = &d->streams[i];
        if (s->there && d->pes[s->to].type == D_KEYED && d->pes[s->to].parallelism > 1) {
            s->part = PART_KEYED;
            s->key = 0;
        }
    }
}

static inline struct draft_pe draft_pe_make(struct random_draft *d, struct prng *r, unsigned at)
{
    unsigned n = d->next++;
    enum draft_type type = at == 0 ? D_SRC : (enum draft_type)(1 + below(r, 4));
    return (struct draft_pe){true, type, n, n, 1 + below(r, 3), 0, 0};
}

static inline struct random_draft draft_make(struct prng *r)
{
    struct random_draft d = {.next = 1};
    for (unsigned i = 0; i < DRAFT_PES; i++) {
        if (i == 0 || below(r, 4) != 0) {
            d.pes[i] = draft_pe_make(&d, r, i);
        }
    }
    for (unsigned n = 4 + below(r, 8); n > 0; n--) {
        unsigned a = below(r, DRAFT_PES), b = below(r, DRAFT_PES);
        if (may_join(&d, a, b)) {
            draft_join(&d, r, a, b);
        }
    }
    draft_mend(&d, r);
    return d;
}

static inline void draft_edit_stream(struct random_draft *d, struct prng *r, unsigned which)
{
    struct draft_stream *s = &d->streams[below(r, DRAFT_STREAMS)];
    unsigned a = below(r, DRAFT_PES), b = below(r, DRAFT_PES);
    if (which == 0 && may_join(d, a, b)) {
        draft_join(d, r, a, b);
    } else if (which == 1) {
        s->there = false;
    } else if (which == 2 && s->there && may_join(d, s->from, b)) {
        s->to = b; /* re-pointed, by name or not */
    } else if (which == 3) {
        s->part = below(r, 3);
    } else if (which == 4 && s->there) { /* a PE is put in between, or what is there is used */
        for (unsigned i = s->from + 1; i < s->to; i++) {
            if (!d->pes[i].there) {
                unsigned to = s->to;
                d->pes[i] = draft_pe_make(d, r, i);
                d->pes[i].type = D_MAP;
                s->to = i;
                draft_join(d, r, i, to);
                return;
            }
        }
    }
}

static inline void draft_edit(struct random_draft *d, struct prng *r)
{
    struct draft_pe *p = &d->pes[below(r, DRAFT_PES)];
    unsigned which = below(r, 14);
    if (which < 8) {
        draft_edit_stream(d, r, which % 5);
    } else if (which == 8) {
        p->v++;
    } else if (which == 9) {
        p->parallelism = 1 + below(r, 4);
    } else if (which == 10 && p->there) {
        p->name = d->next++; /* its uid stays */
    } else if (which == 11) {
        unsigned at = (unsigned)(p - d->pes);
        if (p->there && at > 0) {
            p->there = false;
        } else if (!p->there) {
            *p = draft_pe_make(d, r, at);
        }
    } else if (which == 12) {
        p->retries++;
    } else {
        d->no_fusion = below(r, 8) == 0;
        d->per_pe = below(r, 4) == 0;
    }
    draft_mend(d, r);
}

static inline char *draft_yaml(const struct random_draft *d) /* caller frees */
{
    static const char *const types[] = {"src", "map", "many", "keyed", "sink"};
    struct strbuf out = {0};
    strbuf_printf(&out, "oxbow: 1\ntopology: t\nfusion: %s\nupgrade: {consistency: %s}\npes:\n",
                  d->no_fusion ? "off" : "auto", d->per_pe ? "per-pe" : "exact");
    for (unsigned i = 0; i < DRAFT_PES; i++) {
        const struct draft_pe *p = &d->pes[i];
        if (p->there) {
            strbuf_printf(&out,
                          "  p%u: {use: %s, uid: u%u, parallelism: %u, with: {v: %u}, "
                          "on_error: {retries: %u, then: stop}}\n",
                          p->name, types[p->type], p->uid, p->parallelism, p->v, p->retries);
        }
    }
    strbuf_printf(&out, "streams:\n");
    for (unsigned i = 0; i < DRAFT_STREAMS; i++) {
        const struct draft_stream *s = &d->streams[i];
        if (!s->there) {
            continue;
        }
        strbuf_printf(&out, "  - {from: p%u, to: p%u", d->pes[s->from].name, d->pes[s->to].name);
        if (s->part == PART_KEYED) {
            strbuf_printf(&out, ", by: %s", s->key != 0 ? "seq" : "key");
        } else if (s->part == PART_BROADCAST) {
            strbuf_text_add(&out, ", to_all: true");
        }
        if (s->name != 0) {
            strbuf_printf(&out, ", name: s%u", s->name);
        }
        strbuf_text_add(&out, "}\n");
    }
    strbuf_text(&out);
    return strbuf_take(&out);
}

static inline struct topology *draft_topology(const struct catalog *c, const struct random_draft *d)
{
    char *yaml = draft_yaml(d);
    struct topology *t = must_parse(c, yaml);
    mem_free(yaml);
    return t;
}

#endif
