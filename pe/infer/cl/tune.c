/* pe/infer/cl/tune.c - trying the tiles of products on a device, and remembering the best. */
#include "pe/infer/cl/tune.h"

#include "core/clock.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/mem.h"
#include "pe/infer/cl/kernels.h"
#include "pe/infer/cl/program.h"
#include "pe/infer/cl/recipe.h"

#include <stdio.h>
#include <string.h>

enum { TRIAL_LINES = 64, TRIAL_COLUMNS = 256, TRIAL_DEPTH = 256 }; /* a common layer */
enum { CANDIDATES_MAX = 8, ROUNDS = 5 };
#define COMPILE_MS_MAX 3000 /* for all candidates; the rest is tried by the next process */
#define CLEARLY 0.97 /* of the rule's time: less is chance, and a change costs a second program */

static const struct tile wide[] = {{8, 2, 0, 0}, {12, 2, 0, 0}, {6, 4, 0, 0}, {4, 4, 0, 0}};
static const struct tile narrow[] = {{6, 2, 0, 0}, {4, 2, 0, 0}, {4, 3, 0, 0}, {8, 1, 0, 0}};
static const struct tile gpu[] = {{64, 8, 4, 16}, {64, 8, 8, 16}, {32, 8, 4, 16}, {128, 8, 8, 8}};

const struct tile *tune_candidates(const struct ocl_device *d, size_t *count)
{
    static_assert(sizeof wide == sizeof narrow && sizeof wide == sizeof gpu, "one count for all");
    *count = sizeof wide / sizeof wide[0];
    return d->kind == OCL_GPU ? gpu : d->lanes == 16 ? wide : narrow;
}

char *tune_path(const struct ocl_device *d, const char *dir)
{
    bool is_gpu = d->kind == OCL_GPU;
    size_t count = 0;
    const struct tile *all = tune_candidates(d, &count);
    struct strbuf text = {0}; /* all that the choice depends on beside the device */
    for (size_t i = 0; i < count; i++) {
        strbuf_printf(&text, "%u %u %u %u\n", all[i].lines, all[i].vectors, all[i].per_item,
                      all[i].depth);
    }
    strbuf_text_add(&text, ocl_kernel_text("prelude"));
    strbuf_text_add(&text, ocl_kernel_text(is_gpu ? "gemm_gpu" : "gemm_cpu"));
    char *path = ocl_cache_path(d, dir, "tune", is_gpu ? "gpu" : "cpu", strbuf_text(&text));
    strbuf_fini(&text);
    return path;
}

/* ---- the trial */

struct trial {
    struct device device; /* as the one that is tuned, with its tile forced */
    struct tile tile;
    struct step *step;
    double best_us;
};

struct problem { /* one product, and the arena it works in */
    struct graph *graph;
    struct tensor x, w, y;
    struct place in[2], out;
    struct step_spec spec;
    struct arena *arena;
    float *weights;
};

static void problem_init(struct problem *p)
{
    struct shape x = {.rank = 2, .dims = {TRIAL_LINES, TRIAL_DEPTH}};
    struct shape w = {.rank = 2, .dims = {TRIAL_DEPTH, TRIAL_COLUMNS}};
    struct shape y = {.rank = 2, .dims = {TRIAL_LINES, TRIAL_COLUMNS}};
    *p = (struct problem){.graph = graph_new(),
                          .weights = mem_array(TRIAL_DEPTH * TRIAL_COLUMNS, sizeof(float))};
    for (size_t i = 0; i < TRIAL_DEPTH * TRIAL_COLUMNS; i++) {
        p->weights[i] = (float)(i % 13) * 0.1f;
    }
    uint32_t in[2] = {graph_add_value(p->graph, VALUE_INPUT, "x"),
                      graph_add_value(p->graph, VALUE_INPUT, "w")};
    uint32_t out = graph_add_value(p->graph, VALUE_UNUSED, "y");
    uint32_t at = graph_add_node(p->graph, "", "MatMul", 17, in, 2, &out, 1);
    p->x = tensor_borrow(DT_F32, &x, NULL);
    p->w = tensor_borrow(DT_F32, &w, p->weights);
    p->y = tensor_borrow(DT_F32, &y, NULL);
    p->in[0] = (struct place){.type = &p->x, .batched = true, .scale = 1};
    p->in[1] = (struct place){.type = &p->w, .constant = true};
    p->out =
        (struct place){.type = &p->y, .offset = tensor_bytes(&p->x), .batched = true, .scale = 1};
    p->spec = (struct step_spec){&p->graph->nodes[at], p->in, &p->out, TRIAL_LINES};
}

static void problem_fini(struct problem *p)
{
    backend_opencl->arena_free(p->arena);
    graph_free(p->graph);
    mem_free(p->weights);
}

/* Once: enqueued and waited for. */
static enum err run_once(const struct trial *t, const struct problem *p, struct fail *f)
{
    void *host = NULL;
    enum err e = backend_opencl->run(t->step, p->arena, TRIAL_LINES, f);
    if (e == ERR_OK) {
        e = backend_opencl->host_begin(p->arena, p->out.offset, sizeof(float), HOST_READ, &host, f);
    }
    return e == ERR_OK ? backend_opencl->host_end(p->arena, p->out.offset, sizeof(float), HOST_READ,
                                                  host, f)
                       : e;
}

/* The shortest of many: whatever is longer is somebody else's work. */
static enum err measure(struct trial *t, const struct problem *p, struct fail *f)
{
    uint64_t end = clock_now_ns() + (uint64_t)CL_TUNE_MS * 1000000 / ROUNDS, now = 0;
    enum err e = ERR_OK;
    do {
        uint64_t start = clock_now_ns();
        e = run_once(t, p, f);
        now = clock_now_ns();
        double us = (double)(now - start) / 1e3;
        t->best_us = t->best_us == 0 || us < t->best_us ? us : t->best_us;
    } while (e == ERR_OK && now < end);
    return e;
}

static enum err run_trials(struct trial *trials, size_t count, const struct problem *p,
                           struct fail *f)
{
    enum err e = ERR_OK;
    for (size_t round = 0; round < ROUNDS && e == ERR_OK; round++) {
        for (size_t i = 0; i < count && e == ERR_OK; i++) {
            e = measure(&trials[i], p, f);
        }
    }
    return e;
}

/* As many candidates as can be compiled in the time there is; from disk they come at once. */
static enum err compile_all(const struct device *d, const struct problem *p, struct trial *trials,
                            size_t *count, struct fail *f)
{
    const struct tile *all = tune_candidates(d->ocl, count);
    uint64_t end_us = clock_now_us() + COMPILE_MS_MAX * UINT64_C(1000);
    enum err e = ERR_OK;
    for (size_t i = 0; i < *count && e == ERR_OK; i++) {
        if (clock_now_us() > end_us) {
            *count = i;
            break;
        }
        trials[i].tile = all[i];
        trials[i].device = *d;
        trials[i].device.tune = false;
        trials[i].device.tile = &trials[i].tile;
        e = backend_opencl->compile(&trials[i].device, &p->spec, &trials[i].step, f);
        if (e == ERR_OK) {
            e = run_once(&trials[i], p, f);
        }
    }
    return e;
}

/* @best: the number of the best candidate; 0, the rule, where trying failed.  Return: were all
 * tried, or is that as far as it goes here? */
static bool try_all(const struct device *d, const struct tile *all, size_t count, size_t *best_of)
{
    size_t tried = count;
    struct trial trials[CANDIDATES_MAX] = {{.best_us = 0}};
    struct problem p;
    struct fail f = {0};
    size_t best = 0;
    problem_init(&p);
    struct device owner = *d;
    size_t bytes = tensor_bytes(&p.x) + tensor_bytes(&p.y);
    enum err e = backend_opencl->arena_new(&owner, bytes, &p.arena, &f);
    if (e == ERR_OK) {
        e = compile_all(d, &p, trials, &tried, &f);
    }
    if (e == ERR_OK) {
        e = run_trials(trials, tried, &p, &f);
    }
    for (size_t i = 1; i < tried && e == ERR_OK; i++) {
        best = trials[i].best_us < trials[best].best_us &&
                       trials[i].best_us < trials[0].best_us * CLEARLY
                   ? i
                   : best;
    }
    if (e == ERR_OK) {
        log_event(LOG_INFO, "infer.tuned",
                  "device=\"%s\" tried=%zu tile=%ux%u us=%.1f rule_us=%.1f", d->ocl->name, tried,
                  all[best].lines, all[best].vectors, trials[best].best_us, trials[0].best_us);
    } else {
        log_event(LOG_WARN, "infer.not_tuned", "device=\"%s\" why=\"%s\"", d->ocl->name, f.what);
    }
    problem_fini(&p);
    for (size_t i = 0; i < count; i++) {
        backend_opencl->step_free(trials[i].step);
    }
    *best_of = best;
    return tried == count || e != ERR_OK;
}

/* ---- remembering */

enum { CHOICE_BYTES = 32 };

static size_t choice_text(size_t choice, char text[CHOICE_BYTES])
{
    return (size_t)snprintf(text, CHOICE_BYTES, "tile %zu\n", choice);
}

static bool recall(const char *path, size_t count, size_t *choice)
{
    char *found = NULL, text[CHOICE_BYTES];
    size_t bytes = 0, i = 0;
    if (!ocl_cache_load(path, &found, &bytes)) {
        return false;
    }
    while (i < count && (choice_text(i, text) != bytes || memcmp(text, found, bytes) != 0)) {
        i++;
    }
    mem_free(found);
    *choice = i < count ? i : 0;
    return i < count;
}

static void remember(const char *path, size_t choice)
{
    char text[CHOICE_BYTES];
    ocl_cache_store(path, text, choice_text(choice, text));
}

struct tile tune_tile(struct device *d)
{
    size_t count = 0, choice = 0;
    const struct tile *all = tune_candidates(d->ocl, &count);
    const char *dir = ocl_devices_cache_dir(d->all);
    if (d->tile != NULL) {
        return *d->tile;
    }
    unsigned known = atomic_load(&d->ocl->tile);
    if (known != 0) {
        return all[known - 1];
    }
    if (!d->tune || dir == NULL) {
        return all[0];
    }
    char *path = tune_path(d->ocl, dir);
    if (!recall(path, count, &choice)) {
        if (try_all(d, all, count, &choice)) {
            remember(path, choice);
        }
    }
    mem_free(path);
    atomic_store(&d->ocl->tile, (unsigned)choice + 1);
    return all[choice];
}
