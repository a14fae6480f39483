/* pe/infer/infer_pe.c - `infer`: runs an ONNX model over the stream.
 *
 * Owns:       struct infer: the session (model, device, programs), the binding of fields, and the
 *             batches that wait to be run together.
 * Batching:   rows are run when `batch.max` of them wait, when the input pauses, before a marker,
 *             and when the oldest has waited for `batch.delay`: under light load a tuple is run at
 *             once, under heavy load batches fill by themselves.
 * Order:      batches wait and leave in the order in which they came, so every order is kept.
 * Invariants: R1 what waits has left before a marker, a cut or the end passes (flush, finish), so
 *                nothing waits in a snapshot.
 *             R2 a row leaves exactly once: a run that fails on a lost device is redone on the next
 *                one before anything of it has left.
 * Runs on:    a thread of its own by default: a run may take milliseconds.  All that is slow
 *             (loading, compiling, warming up) happens in prepare. */
#include "core/clock.h"
#include "core/file.h"
#include "core/limits.h"
#include "core/mem.h"
#include "core/sha256.h"
#include "core/text.h"
#include "pe/batch.h"
#include "pe/builtin/builtin.h"
#include "pe/host.h"
#include "pe/infer/bind.h"
#include "pe/infer/compiled.h"
#include "pe/infer/meters.h"
#include "pe/infer/model.h"
#include "pe/infer/session.h"

#include <jansson.h>
#include <string.h>

#define BATCH_MAX_DEFAULT 128
#define DELAY_TIMER 1

struct infer {
    struct session *session;
    struct binding binding;
    int64_t batch_max;
    uint64_t delay_us;
    struct batch **waiting; /* views that hold their columns; oldest first */
    size_t waiting_count, waiting_capacity;
    int64_t waiting_rows;
    char digest[SHA256_HEX_BYTES]; /* of the model's file */
    int digest_field;              /* of the output; -1: not asked for */
    struct oxb_const *digest_column;
    struct meters meters;
};

#define DIGEST_SHOWN 12 /* of its digits, as plans show it */

/* ---- parameters ---- */

/* {max: 32, delay: 2ms} */
static int read_policy(struct oxb_pe *pe, struct infer *s)
{
    const char *text = oxb_param_json(pe, "batch");
    json_t *j = text != NULL ? json_loads(text, 0, NULL) : NULL;
    json_t *max = json_object_get(j, "max"), *delay = json_object_get(j, "delay");
    const char *key;
    json_t *value;
    int64_t delay_us = 0;
    int result = OXB_OK;
    s->batch_max = json_is_integer(max) ? json_integer_value(max) : BATCH_MAX_DEFAULT;
    if ((max != NULL && !json_is_integer(max)) || s->batch_max < 1 ||
        s->batch_max > INFER_BATCH_MAX) {
        result = oxb_fail(pe, "batch.max must be 1 to %d", INFER_BATCH_MAX);
    }
    if (delay != NULL &&
        (!json_is_string(delay) || !text_parse_duration_us(json_string_value(delay), &delay_us))) {
        result = oxb_fail(pe, "batch.delay must be a duration, such as 2ms");
    }
    json_object_foreach(j, key, value)
    {
        if (strcmp(key, "max") != 0 && strcmp(key, "delay") != 0) {
            result = oxb_fail(pe, "batch has `max` and `delay`, not `%.40s`", key);
        }
    }
    s->delay_us = (uint64_t)delay_us;
    json_decref(j);
    return result;
}

static json_t *map_of(struct oxb_pe *pe, const char *name)
{
    const char *text = oxb_param_json(pe, name);
    json_t *j = text != NULL ? json_loads(text, 0, NULL) : NULL;
    return j != NULL ? j : json_object();
}

/* ---- prepare ---- */

static int give(struct oxb_pe *pe, const struct fail *f)
{
    return oxb_fail(pe, "%s%s%s", f->what, f->hint[0] != '\0' ? "; " : "", f->hint);
}

static enum err open_session(struct oxb_pe *pe, struct infer *s, struct fail *f)
{
    struct graph *model = NULL;
    enum err e = model_open(oxb_param_str(pe, "model"), &model, f); /* refuses what is too large */
    if (e != ERR_OK) {
        return e;
    }
    e = sha256_file(oxb_param_str(pe, "model"), s->digest, f);
    if (e != ERR_OK) {
        graph_free(model);
        return e;
    }
    json_t *in = map_of(pe, "in");
    e = binding_inputs(&s->binding, model, in, oxb_in_schema(pe, 0), f);
    json_decref(in);
    if (e != ERR_OK) {
        graph_free(model);
        return e;
    }
    struct shape *rows = mem_array(s->binding.input_count, sizeof *rows);
    for (unsigned i = 0; i < s->binding.input_count; i++) {
        rows[i] = s->binding.inputs[i].row;
    }
    struct session_options o = {.device = oxb_param_str(pe, "device"),
                                .batch_max = s->batch_max,
                                .cache_dir = pe_data_dir(pe),
                                .rows = rows};
    e = session_new(model, &o, &s->session, f);
    mem_free(rows);
    return e;
}

/* The field for the model's digest, and a column of it to share between all batches. */
static enum err open_digest(struct oxb_pe *pe, struct infer *s, struct fail *f)
{
    const char *field = oxb_param_str(pe, "digest");
    const struct oxb_schema *out = oxb_out_schema(pe, 0);
    s->digest_field = -1;
    if (field == NULL || field[0] == '\0') {
        return ERR_OK;
    }
    int at = oxb_field(out, field);
    if (at < 0 || out->fields[at].type != OXB_STR || oxb_field(oxb_in_schema(pe, 0), field) >= 0) {
        return fail_set(f, ERR_INVALID, "name a field that is not there yet",
                        "`digest: %.60s` must be a text field of its own in the output", field);
    }
    s->digest_field = at;
    s->digest_column = oxb_const_str(pe, s->digest, DIGEST_SHOWN);
    return ERR_OK;
}

static int prepare(struct oxb_pe *pe)
{
    struct infer *s = oxb_self(pe);
    struct fail f = {0};
    if (read_policy(pe, s) != OXB_OK) {
        return OXB_ERROR;
    }
    if (oxb_in_schema(pe, 0) == NULL) {
        return oxb_fail(pe, "no stream leads here");
    }
    if (open_session(pe, s, &f) != ERR_OK) {
        return give(pe, &f);
    }
    s->batch_max = session_batch_max(s->session);
    json_t *out = map_of(pe, "out");
    const struct graph *shaped = compiled_graph(session_pick(s->session, 1));
    enum err e = binding_outputs(&s->binding, shaped, out, oxb_out_schema(pe, 0), &f);
    json_decref(out);
    if (e == ERR_OK) {
        e = open_digest(pe, s, &f);
    }
    meters_open(&s->meters, pe, s->digest, session_kind(s->session));
    oxb_log(pe, OXB_INFO, "model on %s, batches of up to %lld", session_device(s->session),
            (long long)s->batch_max);
    return e == ERR_OK ? OXB_OK : give(pe, &f);
}

/* ---- one run: rows [from, from + rows) of what waits ---- */

struct part { /* of a waiting batch, in one run */
    struct batch *view;
    size_t at; /* its first row in the run */
};

static enum err fill_inputs(struct infer *s, struct compiled *c, const struct part *parts,
                            size_t count, struct fail *f)
{
    for (unsigned i = 0; i < s->binding.input_count; i++) {
        void *to = NULL;
        enum err e = compiled_input(c, i, &to, f);
        if (e != ERR_OK) {
            return e;
        }
        for (size_t k = 0; k < count; k++) {
            bound_gather(&s->binding.inputs[i], &parts[k].view->pub, to, parts[k].at);
        }
        e = compiled_input_done(c, i, to, f);
        if (e != ERR_OK) {
            return e;
        }
    }
    return ERR_OK;
}

static void *new_column(struct oxb_pe *pe, struct oxb_batch *b, unsigned field)
{
    switch (b->schema->fields[field].type) {
    case OXB_F32:
        return oxb_new_f32s(pe, b, field);
    case OXB_F64:
        return oxb_new_f64s(pe, b, field);
    case OXB_BOOL:
        return oxb_new_bools(pe, b, field);
    default:
        return oxb_new_i64s(pe, b, field);
    }
}

/* Open all outputs, then hand the batches on one after the other. */
static enum err emit_outputs(struct oxb_pe *pe, struct infer *s, struct compiled *c,
                             const struct part *parts, size_t count, struct fail *f)
{
    const struct graph *g = compiled_graph(c);
    const void **from = mem_array(g->output_count, sizeof *from);
    enum err e = ERR_OK;
    unsigned open = 0;
    for (; open < g->output_count && e == ERR_OK; open++) {
        e = compiled_output(c, open, &from[open], f);
    }
    for (size_t k = 0; k < count && e == ERR_OK; k++) {
        struct oxb_batch *out = oxb_derive(pe, 0, &parts[k].view->pub);
        for (unsigned i = 0; i < s->binding.output_count; i++) {
            const struct bound_output *o = &s->binding.outputs[i];
            bound_scatter(o, &g->values[g->outputs[o->output]].type, from[o->output], parts[k].at,
                          out->schema, out, new_column(pe, out, o->field));
        }
        if (s->digest_field >= 0) {
            oxb_set_column(pe, out, (unsigned)s->digest_field, s->digest_column);
        }
        oxb_forward(pe, 0, out);
    }
    struct fail ignored;
    for (unsigned i = 0; i < open && from[i] != NULL; i++) {
        enum err done = compiled_output_done(c, i, from[i], &ignored);
        (void)done; /* it was read; a device that is lost shows at the next run */
    }
    mem_free(from);
    return e;
}

static enum err run_once(struct oxb_pe *pe, struct infer *s, const struct part *parts, size_t count,
                         int64_t rows, struct fail *f)
{
    struct compiled *c = session_pick(s->session, rows);
    uint64_t start_us = clock_now_us();
    enum err e = fill_inputs(s, c, parts, count, f);
    if (e == ERR_OK) {
        e = compiled_run(c, rows, f);
    }
    if (e == ERR_OK) {
        e = emit_outputs(pe, s, c, parts, count, f);
    }
    meters_spent(&s->meters, (int64_t)(clock_now_us() - start_us));
    return e;
}

static int run(struct oxb_pe *pe, struct infer *s, const struct part *parts, size_t count,
               int64_t rows)
{
    struct fail f = {0};
    enum err e = run_once(pe, s, parts, count, rows, &f);
    while (e == ERR_IO) { /* R2 */
        meters_fell_back(&s->meters);
        oxb_log(pe, OXB_WARN, "device lost: %s", f.what);
        e = session_fall_back(s->session, &f);
        if (e == ERR_OK) {
            meters_open(&s->meters, pe, s->digest, session_kind(s->session));
            e = run_once(pe, s, parts, count, rows, &f);
        }
    }
    if (e != ERR_OK) {
        return give(pe, &f);
    }
    meters_ran(&s->meters, rows);
    return OXB_OK;
}

/* ---- what waits ---- */

/* A batch with more rows than fit in one run is cut into views of it. */
static void wait_for_run(struct infer *s, struct batch *b)
{
    uint16_t sel[BATCH_ROWS_MAX];
    for (uint32_t from = 0; from < b->pub.live;) {
        uint32_t rows = b->pub.live - from;
        rows = (int64_t)rows > s->batch_max ? (uint32_t)s->batch_max : rows;
        for (uint32_t k = 0; k < rows; k++) {
            sel[k] = b->pub.sel != NULL ? b->pub.sel[from + k] : (uint16_t)(from + k);
        }
        s->waiting =
            mem_grow(s->waiting, s->waiting_count, &s->waiting_capacity, sizeof *s->waiting);
        s->waiting[s->waiting_count++] =
            rows == b->pub.live ? batch_share(b) : batch_select(b, sel, rows);
        s->waiting_rows += rows;
        from += rows;
    }
}

static void forget(struct infer *s, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        s->waiting_rows -= s->waiting[k]->pub.live;
        batch_free(s->waiting[k]);
    }
    memmove(s->waiting, s->waiting + count, (s->waiting_count - count) * sizeof *s->waiting);
    s->waiting_count -= count;
}

/* Run what waits; without `all`, whole runs only. */
static int run_waiting(struct oxb_pe *pe, struct infer *s, bool all)
{
    while (s->waiting_rows >= s->batch_max || (all && s->waiting_count > 0)) {
        struct part *parts = mem_array(s->waiting_count, sizeof *parts);
        int64_t rows = 0;
        size_t count = 0;
        while (count < s->waiting_count && rows + s->waiting[count]->pub.live <= s->batch_max) {
            parts[count] = (struct part){s->waiting[count], (size_t)rows};
            rows += s->waiting[count++]->pub.live;
        }
        int result = run(pe, s, parts, count, rows);
        mem_free(parts);
        forget(s, count);
        if (result != OXB_OK) {
            return result;
        }
    }
    return OXB_OK;
}

static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    struct infer *s = oxb_self(pe);
    (void)port;
    if (in->live == 0) {
        return OXB_OK;
    }
    bool first = s->waiting_count == 0;
    wait_for_run(s, batch_of(in));
    int result = run_waiting(pe, s, s->delay_us == 0);
    if (result == OXB_OK && s->waiting_count > 0 && first) {
        oxb_timer_set(pe, DELAY_TIMER, oxb_mono_us(pe) + s->delay_us);
    }
    return result;
}

static int run_all(struct oxb_pe *pe)
{
    struct infer *s = oxb_self(pe);
    if (s->waiting_count > 0 && s->delay_us > 0) {
        oxb_timer_clear(pe, DELAY_TIMER);
    }
    return run_waiting(pe, s, true);
}

static int on_timer(struct oxb_pe *pe, uint64_t id)
{
    (void)id;
    return run_all(pe);
}

static void stop(struct oxb_pe *pe)
{
    struct infer *s = oxb_self(pe);
    forget(s, s->waiting_count);
}

static void drop(struct oxb_pe *pe)
{
    struct infer *s = oxb_self(pe);
    forget(s, s->waiting_count);
    mem_free(s->waiting);
    session_free(s->session);
    binding_fini(&s->binding);
}

static const struct oxb_param params[] = {
    {.name = "model",
     .type = OXB_P_PATH,
     .flags = OXB_REQUIRED,
     .doc = "the ONNX file; it travels with the topology, and its content is part of the PE"},
    {.name = "in",
     .type = OXB_P_MAP,
     .doc = "{MODEL_INPUT: FIELD} or {MODEL_INPUT: [FIELD, ...]}; may be left out when there is "
            "one tensor field"},
    {.name = "out",
     .type = OXB_P_MAP,
     .doc = "{FIELD: MODEL_OUTPUT}; left out: all outputs under their own names"},
    {.name = "batch",
     .type = OXB_P_MAP,
     .doc = "{max: rows of one inference (128), delay: how long a tuple may wait for others (0s)}"},
    {.name = "device",
     .type = OXB_P_ENUM,
     .fallback = "any",
     .choices = "any gpu cpu reference",
     .doc = "where it runs; a device that is missing or lost is replaced: gpu, cpu, reference"},
    {.name = "digest",
     .type = OXB_P_STR,
     .doc = "a text field to add: the first 12 digits of the SHA-256 of the model's file"},
    {.name = NULL},
};

static const struct oxb_port outputs[] = {
    {"out", "*, declared, $digest: str",
     "the input with the model's outputs; their types come from the model"},
    {NULL, NULL, NULL},
};

const struct oxb_pe_type builtin_infer = {
    .abi = OXB_ABI,
    .flags = OXB_OWN_THREAD,
    .name = "infer",
    .doc = "runs an ONNX model over the stream, in batches, on an OpenCL device",
    .params = params,
    .outputs = outputs,
    .state_version = 1,
    .self_bytes = sizeof(struct infer),
    .prepare = prepare,
    .process = process,
    .timer = on_timer,
    .finish = run_all,
    .flush = run_all,
    .stop = stop,
    .drop = drop,
};
