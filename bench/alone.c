/* bench/alone.c - the fused chain through pe/ alone: what the SDK costs without a worker.
 *
 * Five instances in one thread; what one emits is the next one's input, by a direct call. */
#include "bench/bench.h"
#include "bench/lone_host.h"
#include "core/clock.h"
#include "core/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STAGES 5u

extern const struct oxb_pe_type *const oxb_pes[]; /* of bench/bench_pes.c, linked in here */

struct link {
    struct oxb_pe *next; /* NULL behind the sink */
    int result;          /* first one that was not OXB_OK */
};

static void link_emit(void *ctx, unsigned port, struct batch *batch)
{
    struct link *l = ctx;
    (void)port;
    int r = pe_process(l->next, 0, batch);
    if (r != OXB_OK && l->result == OXB_OK) {
        l->result = r;
    }
}

static const struct oxb_pe_type *type_named(const char *name)
{
    for (size_t i = 0; oxb_pes[i] != NULL; i++) {
        if (strcmp(oxb_pes[i]->name, name) == 0) {
            return oxb_pes[i];
        }
    }
    return NULL;
}

struct alone {
    struct pool *pool;
    struct oxb_pe *pes[STAGES];
    struct link links[STAGES];
    struct pe_host hosts[STAGES];
    char report[64];
    char params[STAGES][256];
};

static enum err alone_make(struct alone *a, struct fail *f)
{
    static const char *const names[STAGES] = {"bench-rows", "bench-map", "bench-filter",
                                              "bench-sum", "bench-sink"};
    const struct oxb_schema *wide;
    const struct oxb_schema *sums;
    enum err e = schema_parse("k: i64, v: i64, x: f64, s: str, b: bool", &wide, f);
    if (e == ERR_OK) {
        e = schema_parse("k: i64, sum: i64", &sums, f);
    }
    for (unsigned n = STAGES; e == ERR_OK && n-- > 0;) {
        struct pe_port_spec in = {"in", n == STAGES - 1 ? sums : wide, true};
        struct pe_port_spec out = {"out", n == 3 ? sums : wide, true};
        struct pe_spec spec = {.type = type_named(names[n]),
                               .name = names[n],
                               .params = a->params[n],
                               .base_dir = "/",
                               .parallelism = 1,
                               .inputs = &in,
                               .input_count = n == 0 ? 0 : 1,
                               .outputs = &out,
                               .output_count = n == STAGES - 1 ? 0 : 1};
        a->links[n].next = n + 1 < STAGES ? a->pes[n + 1] : NULL;
        a->hosts[n] = lone_host(&a->links[n], link_emit);
        a->pes[n] = pe_new(&spec, &a->hosts[n], a->pool);
        e = pe_prepare(a->pes[n], f);
        if (e == ERR_OK) {
            e = pe_start(a->pes[n], f);
        }
    }
    return e;
}

static const char *alone_run(struct alone *a)
{
    int r;
    do {
        r = pe_produce(a->pes[0], 1024);
    } while (r == OXB_OK);
    pe_flush_writers(a->pes[0]);
    for (unsigned n = 1; n < STAGES && r == OXB_END; n++) {
        r = pe_finish(a->pes[n]) == OXB_OK ? OXB_END : OXB_ERROR;
        pe_flush_writers(a->pes[n]);
    }
    for (unsigned n = 0; n < STAGES; n++) {
        if (a->links[n].result != OXB_OK) {
            r = OXB_ERROR;
        }
        pe_stop(a->pes[n]);
    }
    for (unsigned n = 0; r != OXB_END && n < STAGES; n++) {
        if (pe_error(a->pes[n])[0] != '\0') {
            return pe_error(a->pes[n]);
        }
    }
    return r == OXB_END ? NULL : "a callback failed";
}

static void alone_read(const struct alone *a, struct result *r)
{
    FILE *f = fopen(a->report, "r");
    unsigned long long last;
    unsigned long long count;
    unsigned long long check;
    if (f == NULL || fscanf(f, "last_ns=%llu count=%llu check=%llu", &last, &count, &check) != 3) {
        *r = result_fail("no report");
    } else {
        r->count = count;
        r->check = check;
    }
    if (f != NULL) {
        fclose(f);
    }
}

struct result alone_chain(uint64_t rows)
{
    struct alone *a = calloc(1, sizeof *a);
    struct fail f = {0};
    if (a == NULL) {
        return result_fail("out of memory");
    }
    snprintf(a->report, sizeof a->report, "/tmp/oxbow-bench-alone.%ld", (long)getpid());
    for (unsigned n = 0; n < STAGES; n++) {
        snprintf(a->params[n], sizeof a->params[n], "{}");
    }
    snprintf(a->params[0], sizeof a->params[0], "{\"count\": %llu, \"rate\": 0}",
             (unsigned long long)rows);
    snprintf(a->params[4], sizeof a->params[4],
             "{\"fields\": [\"k\", \"sum\"], \"latency\": false, \"report\": \"%s\"}", a->report);
    a->pool = pool_new(16u << 20);
    struct result r = {0};
    if (alone_make(a, &f) != ERR_OK) {
        r = result_fail("%s", f.what);
    } else {
        uint64_t start = clock_now_ns();
        const char *why = alone_run(a);
        r = (struct result){.ok = true,
                            .value = (double)rows * 1e3 / (double)(clock_now_ns() - start)};
        if (why != NULL) {
            r = result_fail("%s", why);
        } else {
            alone_read(a, &r);
        }
    }
    for (unsigned n = 0; n < STAGES; n++) {
        pe_free(a->pes[n]);
    }
    pool_free(a->pool);
    unlink(a->report);
    free(a);
    return r;
}
