/* pe/infer/session.c - a model open on a device for any number of rows up to a maximum.
 *
 * Invariants: E1, E2 of session.h. */
#include "pe/infer/session.h"

#include "core/limits.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/prng.h"
#include "pe/infer/compare.h"
#include "pe/infer/compiled.h"
#include "pe/infer/specialise.h"

#include <string.h>

#define CANDIDATES_MAX 3
#define SLOTS_OVERLAPPING 2 /* one on the device while the other is read and filled again */

struct bucket {
    int64_t batch;
    struct compiled *compiled;
};

struct session {
    struct graph *model;
    struct shape *rows; /* [input_count] */
    char *cache_dir;
    unsigned index; /* of the instance */
    bool apart;     /* only until it is open */
    bool opened;    /* then time counts: a device that is lost is replaced without delay */
    int64_t batch_max;
    const char *candidates[CANDIDATES_MAX]; /* devices to try, in order; static */
    unsigned candidate_count;
    unsigned candidate; /* in use */
    const struct backend *backend;
    struct device *device;
    struct bucket buckets[INFER_BUCKETS_MAX];
    unsigned bucket_count;
};

/* ---- one bucket ---- */

static enum err typed_inputs(const struct session *s, int64_t batch, struct tensor *inputs,
                             struct fail *f)
{
    const struct graph *g = s->model;
    for (uint32_t i = 0; i < g->input_count; i++) {
        const struct value *v = &g->values[g->inputs[i]];
        const struct shape *row = &s->rows[i];
        struct shape full = {.rank = row->rank + 1, .dims = {batch}};
        if (full.rank > TENSOR_RANK_MAX) {
            return fail_set(f, ERR_INVALID, "", "input '%.80s' has too many dimensions", v->name);
        }
        memcpy(&full.dims[1], row->dims, row->rank * sizeof row->dims[0]);
        tensor_type(&inputs[i], v->type.dtype != DT_NONE ? v->type.dtype : DT_F32, &full);
    }
    return ERR_OK;
}

static enum err specialise_for(const struct session *s, int64_t batch, struct graph **out,
                               struct fail *f)
{
    struct graph *g = graph_clone(s->model);
    struct tensor *inputs = mem_array(g->input_count, sizeof *inputs);
    enum err e = typed_inputs(s, batch, inputs, f);
    if (e == ERR_OK) {
        e = graph_specialise(g, inputs, f);
    }
    mem_free(inputs);
    const struct node *dynamic = e == ERR_OK ? graph_dynamic_node(g) : NULL;
    if (dynamic != NULL) {
        e = fail_set(f, ERR_INVALID, "a PE's model has fixed shapes inside",
                     "node '%.80s' (%.60s): its outputs' shapes depend on the model's data",
                     dynamic->name, dynamic->op);
    }
    if (e != ERR_OK) {
        graph_free(g);
        return e;
    }
    g->batch = batch;
    *out = g;
    return ERR_OK;
}

static enum err check_outputs(const struct graph *g, struct fail *f)
{
    char text[SHAPE_TEXT_BYTES];
    for (uint32_t i = 0; i < g->output_count; i++) {
        const struct value *v = &g->values[g->outputs[i]];
        if (v->type.shape.rank == 0 || v->type.shape.dims[0] != g->batch) {
            return fail_set(f, ERR_INVALID, "its first dimension must be the batch",
                            "output '%.80s' has shape %s for a batch of %lld", v->name,
                            shape_text(&v->type.shape, text), (long long)g->batch);
        }
    }
    return ERR_OK;
}

/* Which values carry the batch shows when the model is specialised for two sizes; one that takes
 * only this size has none that do. */
static enum err make_graph(const struct session *s, int64_t batch, struct graph **out,
                           struct fail *f)
{
    struct graph *other = NULL;
    struct fail ignored;
    enum err e = specialise_for(s, batch, out, f);
    if (e != ERR_OK) {
        return e;
    }
    e = check_outputs(*out, f);
    if (e != ERR_OK) {
        graph_free(*out);
        return e;
    }
    if (specialise_for(s, batch + 1, &other, &ignored) == ERR_OK) {
        graph_mark_batched(*out, other);
    }
    graph_free(other);
    return ERR_OK;
}

static enum err add_bucket(struct session *s, int64_t batch, struct fail *f)
{
    struct graph *g = NULL;
    struct compile_target target = {
        .backend = s->backend, .device = s->device, .fuse = true, .slots = session_slots(s)};
    enum err e = make_graph(s, batch, &g, f);
    if (e != ERR_OK) {
        return e;
    }
    struct bucket *b = &s->buckets[s->bucket_count];
    e = compiled_new(g, &target, &b->compiled, f);
    if (e == ERR_OK) {
        b->batch = batch;
        s->bucket_count++;
    }
    return e;
}

/* ---- warming up, and the trial of E1 ---- */

static void fill(struct tensor *t, struct prng *p)
{
    size_t count = tensor_count(t);
    for (size_t i = 0; i < count && dtype_is_float(t->dtype); i++) {
        tensor_set_f64(t, i, (double)prng_below(p, 2001) / 1000.0 - 1.0);
    }
}

struct trial { /* the tensors of one run */
    struct tensor *inputs;
    struct tensor *outputs;
};

static void trial_fini(const struct session *s, struct trial *t)
{
    for (uint32_t i = 0; i < s->model->input_count; i++) {
        tensor_fini(&t->inputs[i]);
    }
    for (uint32_t i = 0; i < s->model->output_count; i++) {
        tensor_fini(&t->outputs[i]);
    }
    mem_free(t->inputs);
    mem_free(t->outputs);
}

/* Numbers of row 0 are the same for every batch: they are drawn first. */
static enum err trial_run(const struct session *s, const struct bucket *b, struct trial *t,
                          struct fail *f)
{
    t->inputs = mem_array(s->model->input_count, sizeof *t->inputs);
    t->outputs = mem_array(s->model->output_count, sizeof *t->outputs);
    enum err e = typed_inputs(s, b->batch, t->inputs, f);
    for (uint32_t i = 0; i < s->model->input_count && e == ERR_OK; i++) {
        struct prng p = {i};
        struct shape shape = t->inputs[i].shape;
        e = tensor_alloc(&t->inputs[i], t->inputs[i].dtype, &shape, f);
        if (e == ERR_OK) {
            fill(&t->inputs[i], &p);
        }
    }
    return e == ERR_OK ? compiled_run_tensors(b->compiled, t->inputs, t->outputs, f) : e;
}

static bool same_first_row(const struct session *s, struct trial *one, struct trial *many)
{
    for (uint32_t i = 0; i < s->model->output_count; i++) {
        struct tensor row = many->outputs[i];
        struct fail f;
        row.shape.dims[0] = 1;
        if (tensor_close(&row, &one->outputs[i], 1e-2, 1e-4, &f) != ERR_OK) {
            return false;
        }
    }
    return true;
}

static enum err warm_up(struct session *s, struct fail *f)
{
    struct trial one = {0}, many;
    bool mixes = false;
    enum err e = trial_run(s, &s->buckets[0], &one, f);
    for (unsigned i = 1; i < s->bucket_count && e == ERR_OK; i++) {
        many = (struct trial){0};
        e = trial_run(s, &s->buckets[i], &many, f);
        mixes = mixes || (e == ERR_OK && !same_first_row(s, &one, &many));
        trial_fini(s, &many);
    }
    trial_fini(s, &one);
    if (e == ERR_OK && mixes) {
        log_event(LOG_WARN, "infer.mixes_rows",
                  "model=%s text=\"rows of a batch influence each other: run row by row\"",
                  s->model->name);
        s->batch_max = 1;
    }
    return e;
}

/* ---- opening ---- */

static enum err open_device(struct session *s, struct fail *f)
{
    const char *kind = s->candidates[s->candidate];
    struct device_options o = {.kind = kind,
                               .cache_dir = s->cache_dir,
                               .tune = !s->opened,
                               .apart = s->apart && !s->opened,
                               .index = s->index};
    s->backend = strcmp(kind, "reference") == 0 ? &backend_host : backend_opencl;
    if (s->backend == NULL) {
        return fail_set(f, ERR_NOTFOUND, "", "this program was built without OpenCL");
    }
    return s->backend->device_open(&o, &s->device, f);
}

static void close_device(struct session *s)
{
    for (unsigned i = 0; i < s->bucket_count; i++) {
        compiled_free(s->buckets[i].compiled);
    }
    s->bucket_count = 0;
    if (s->backend != NULL) {
        s->backend->device_close(s->device);
    }
    s->backend = NULL;
    s->device = NULL;
}

/* A model declared for a fixed batch of one takes no other. */
static bool takes_batches(const struct graph *g)
{
    for (uint32_t i = 0; i < g->input_count; i++) {
        const struct value *v = &g->values[g->inputs[i]];
        if (v->has_shape && v->type.shape.rank > 0 && v->type.shape.dims[0] != DIM_FREE) {
            return false;
        }
    }
    return true;
}

static enum err add_buckets(struct session *s, struct fail *f)
{
    static const int64_t sizes[] = {1, 8, 32, 128, 512, 1024};
    int64_t max = takes_batches(s->model) ? s->batch_max : 1;
    static_assert(sizeof sizes / sizeof sizes[0] <= INFER_BUCKETS_MAX, "room for all");
    s->batch_max = max;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int64_t size = sizes[i] < max ? sizes[i] : max > 1 ? (max + 7) / 8 * 8 : 1;
        enum err e = add_bucket(s, size, f);
        if (e != ERR_OK || sizes[i] >= max) {
            return e;
        }
    }
    return ERR_OK;
}

static enum err build(struct session *s, struct fail *f)
{
    enum err e = open_device(s, f);
    if (e != ERR_OK) {
        s->backend = NULL;
        return e;
    }
    e = add_buckets(s, f);
    if (e == ERR_OK) {
        e = warm_up(s, f);
    }
    if (e != ERR_OK) {
        close_device(s);
    }
    return e;
}

/* A device that is missing or fails is passed over; a model that is wrong is wrong everywhere. */
static enum err build_first(struct session *s, struct fail *f)
{
    for (;; s->candidate++) {
        enum err e = build(s, f);
        bool device = e == ERR_IO || e == ERR_NOMEM || (e == ERR_NOTFOUND && s->backend == NULL);
        if (e == ERR_OK || !device || s->candidate + 1 >= s->candidate_count) {
            return e;
        }
        log_event(LOG_INFO, "infer.device", "skipped=%s why=\"%s\"", s->candidates[s->candidate],
                  f->what);
    }
}

enum err session_new(struct graph *model TAKES, const struct session_options *o,
                     struct session **out, struct fail *f)
{
    static const char *const order[] = {"gpu", "cpu", "reference"};
    struct session *s = mem_alloc(sizeof *s);
    s->model = model;
    s->batch_max = o->batch_max;
    s->cache_dir = mem_dup(o->cache_dir);
    s->index = o->index;
    s->apart = o->apart;
    s->rows = mem_array(model->input_count, sizeof *s->rows);
    memcpy(s->rows, o->rows, model->input_count * sizeof *s->rows);
    bool host = strcmp(o->device, "reference") == 0, cpu = strcmp(o->device, "cpu") == 0;
    unsigned first = host ? 2 : cpu ? 1 : 0;
    for (; first < CANDIDATES_MAX; first++) {
        s->candidates[s->candidate_count++] = order[first];
    }
    enum err e = build_first(s, f);
    if (e != ERR_OK) {
        session_free(s);
        return e;
    }
    s->opened = true;
    *out = s;
    return ERR_OK;
}

void session_free(struct session *s)
{
    if (s != NULL) {
        close_device(s);
        graph_free(s->model);
        mem_free(s->rows);
        mem_free(s->cache_dir);
        mem_free(s);
    }
}

const struct graph *session_model(const struct session *s)
{
    return s->model;
}

int64_t session_batch_max(const struct session *s)
{
    return s->batch_max;
}

const char *session_device(const struct session *s)
{
    return s->backend->device_name(s->device);
}

const char *session_kind(const struct session *s)
{
    return s->candidates[s->candidate];
}

unsigned session_slots(const struct session *s)
{
    bool overlaps = s->backend->overlaps != NULL && s->backend->overlaps(s->device);
    return overlaps ? SLOTS_OVERLAPPING : 1;
}

bool session_is_open(const struct session *s)
{
    return s->bucket_count > 0;
}

struct compiled *session_pick(struct session *s, int64_t rows)
{
    unsigned i = 0;
    while (i + 1 < s->bucket_count && s->buckets[i].batch < rows) {
        i++;
    }
    return s->buckets[i].compiled;
}

enum err session_fall_back(struct session *s, struct fail *f)
{
    if (s->candidate + 1 >= s->candidate_count) {
        return fail_set(f, ERR_NOTFOUND, "", "there is no device left to fall back to");
    }
    close_device(s);
    s->candidate++;
    return build_first(s, f);
}
