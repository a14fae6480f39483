/* pe/infer/infer_pe.c - `infer`: runs an ONNX model over the stream.
 *
 * Owns:       struct infer: the parameters; runner.h has the session and what waits.
 * Batching:   rows are run when `batch.max` of them wait, when the input pauses, before a marker,
 *             and when the oldest has waited for `batch.delay`: under light load a tuple is run at
 *             once, under heavy load batches fill by themselves.
 * Invariants: R1-R3 of runner.h.
 * Runs on:    a thread of its own by default: a run may take milliseconds.  All that is slow
 *             (loading, compiling, warming up) happens in prepare. */
#include "core/limits.h"
#include "core/mem.h"
#include "core/sha256.h"
#include "core/text.h"
#include "pe/batch.h"
#include "pe/builtin/builtin.h"
#include "pe/host.h"
#include "pe/infer/model.h"
#include "pe/infer/runner.h"

#include <jansson.h>
#include <string.h>

#define BATCH_MAX_DEFAULT 128
#define DELAY_TIMER 1

struct infer {
    struct runner runner;
    uint64_t delay_us;
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
    s->runner.batch_max = json_is_integer(max) ? json_integer_value(max) : BATCH_MAX_DEFAULT;
    if ((max != NULL && !json_is_integer(max)) || s->runner.batch_max < 1 ||
        s->runner.batch_max > INFER_BATCH_MAX) {
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
    e = sha256_file(oxb_param_str(pe, "model"), s->runner.digest, f);
    if (e != ERR_OK) {
        graph_free(model);
        return e;
    }
    json_t *in = map_of(pe, "in");
    e = binding_inputs(&s->runner.binding, model, in, oxb_in_schema(pe, 0), f);
    json_decref(in);
    if (e != ERR_OK) {
        graph_free(model);
        return e;
    }
    struct shape *rows = mem_array(s->runner.binding.input_count, sizeof *rows);
    for (unsigned i = 0; i < s->runner.binding.input_count; i++) {
        rows[i] = s->runner.binding.inputs[i].row;
    }
    struct session_options o = {.device = oxb_param_str(pe, "device"),
                                .batch_max = s->runner.batch_max,
                                .cache_dir = pe_data_dir(pe),
                                .index = oxb_index(pe),
                                .rows = rows};
    e = session_new(model, &o, &s->runner.session, f);
    mem_free(rows);
    return e;
}

/* The field for the model's digest, and a column of it to share between all batches. */
static enum err open_digest(struct oxb_pe *pe, struct infer *s, struct fail *f)
{
    const char *field = oxb_param_str(pe, "digest");
    const struct oxb_schema *out = oxb_out_schema(pe, 0);
    s->runner.digest_field = -1;
    if (field == NULL || field[0] == '\0') {
        return ERR_OK;
    }
    int at = oxb_field(out, field);
    if (at < 0 || out->fields[at].type != OXB_STR || oxb_field(oxb_in_schema(pe, 0), field) >= 0) {
        return fail_set(f, ERR_INVALID, "name a field that is not there yet",
                        "`digest: %.60s` must be a text field of its own in the output", field);
    }
    s->runner.digest_field = at;
    s->runner.digest_column = oxb_const_str(pe, s->runner.digest, DIGEST_SHOWN);
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
    s->runner.batch_max = session_batch_max(s->runner.session);
    json_t *out = map_of(pe, "out");
    const struct graph *shaped = compiled_graph(session_pick(s->runner.session, 1));
    enum err e = binding_outputs(&s->runner.binding, shaped, out, oxb_out_schema(pe, 0), &f);
    json_decref(out);
    if (e == ERR_OK) {
        e = open_digest(pe, s, &f);
    }
    meters_open(&s->runner.meters, pe, s->runner.digest, session_kind(s->runner.session));
    oxb_log(pe, OXB_INFO, "model on %s, batches of up to %lld", session_device(s->runner.session),
            (long long)s->runner.batch_max);
    return e == ERR_OK ? OXB_OK : give(pe, &f);
}

/* ---- running ---- */

static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    struct infer *s = oxb_self(pe);
    (void)port;
    if (in->live == 0) {
        return OXB_OK;
    }
    bool first = runner_add(&s->runner, batch_of(in));
    int result = runner_go(pe, &s->runner, s->delay_us == 0 ? RUN_ALL : RUN_WHOLE);
    if (result == OXB_OK && s->runner.waiting_rows > 0 && first) {
        oxb_timer_set(pe, DELAY_TIMER, oxb_mono_us(pe) + s->delay_us);
    }
    return result;
}

static int run_all(struct oxb_pe *pe)
{
    struct infer *s = oxb_self(pe);
    if (s->runner.waiting_rows > 0 && s->delay_us > 0) {
        oxb_timer_clear(pe, DELAY_TIMER);
    }
    return runner_go(pe, &s->runner, RUN_LAND);
}

static int on_timer(struct oxb_pe *pe, uint64_t id)
{
    (void)id;
    return run_all(pe);
}

static void stop(struct oxb_pe *pe)
{
    struct infer *s = oxb_self(pe);
    runner_forget(&s->runner);
}

static void drop(struct oxb_pe *pe)
{
    struct infer *s = oxb_self(pe);
    runner_fini(&s->runner);
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
