/* pe/infer/runner.c - batches into inferences, and their results back into batches, in order.
 *
 * Invariants: R1-R3 of runner.h. */
#include "pe/infer/runner.h"

#include "core/clock.h"
#include "core/limits.h"
#include "core/mem.h"

#include <assert.h>
#include <string.h>

/* ---- what waits ---- */

/* A batch with more rows than fit in one run is cut into views of it. */
bool runner_add(struct runner *r, struct batch *b)
{
    uint16_t sel[BATCH_ROWS_MAX];
    bool first = r->waiting_rows == 0;
    for (uint32_t from = 0; from < b->pub.live;) {
        uint32_t rows = b->pub.live - from;
        rows = (int64_t)rows > r->batch_max ? (uint32_t)r->batch_max : rows;
        for (uint32_t k = 0; k < rows; k++) {
            sel[k] = b->pub.sel != NULL ? b->pub.sel[from + k] : (uint16_t)(from + k);
        }
        r->views = mem_grow(r->views, r->view_count, &r->view_capacity, sizeof *r->views);
        r->views[r->view_count++] =
            rows == b->pub.live ? batch_share(b) : batch_select(b, sel, rows);
        r->waiting_rows += rows;
        from += rows;
    }
    return first;
}

/* The views [at, at + count) are done with. */
static void forget(struct runner *r, size_t at, size_t count)
{
    for (size_t k = at; k < at + count; k++) {
        batch_free(r->views[k]);
    }
    if (count == 0) {
        return;
    }
    memmove(r->views + at, r->views + at + count, (r->view_count - at - count) * sizeof *r->views);
    r->view_count -= count;
}

/* ---- one run ---- */

static enum err fill_inputs(const struct runner *r, const struct flight *t, struct fail *f)
{
    for (unsigned i = 0; i < r->binding.input_count; i++) {
        void *to = NULL;
        size_t at = 0;
        enum err e = compiled_input(t->compiled, t->slot, i, &to, f);
        if (e != ERR_OK) {
            return e;
        }
        for (size_t k = 0; k < t->view_count; k++) {
            const struct oxb_batch *b = &r->views[r->flown + k]->pub;
            bound_gather(&r->binding.inputs[i], b, to, at);
            at += b->live;
        }
        e = compiled_input_done(t->compiled, t->slot, i, to, f);
        if (e != ERR_OK) {
            return e;
        }
    }
    return ERR_OK;
}

/* As many of the oldest views as fit in one run. */
static struct flight next_run(const struct runner *r)
{
    struct flight t = {.slot = r->next_slot, .start_us = clock_now_us()};
    for (size_t k = r->flown; k < r->view_count; k++) {
        int64_t live = r->views[k]->pub.live;
        if (t.rows + live > r->batch_max) {
            break;
        }
        t.rows += live;
        t.view_count++;
    }
    assert(t.view_count > 0); /* none has more than batch_max */
    t.compiled = session_pick(r->session, t.rows);
    return t;
}

/* On an error but ERR_IO the run's rows are gone. */
static enum err start_run(struct runner *r, struct fail *f)
{
    struct flight t = next_run(r);
    enum err e = fill_inputs(r, &t, f);
    if (e == ERR_OK) {
        e = compiled_run(t.compiled, t.slot, t.rows, f);
    }
    if (e != ERR_OK) {
        meters_spent(&r->meters, (int64_t)(clock_now_us() - t.start_us));
    }
    if (e == ERR_IO) {
        return e;
    }
    r->waiting_rows -= t.rows;
    if (e != ERR_OK) {
        forget(r, r->flown, t.view_count);
        return e;
    }
    r->flown += t.view_count;
    r->flights[r->flight_count++] = t;
    r->next_slot = (r->next_slot + 1) % session_slots(r->session);
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

static void emit_views(struct oxb_pe *pe, struct runner *r, const struct flight *t,
                       const void *const *from)
{
    const struct graph *g = compiled_graph(t->compiled);
    size_t at = 0;
    for (size_t k = 0; k < t->view_count; k++) {
        struct oxb_batch *out = oxb_derive(pe, 0, &r->views[k]->pub);
        for (unsigned i = 0; i < r->binding.output_count; i++) {
            const struct bound_output *o = &r->binding.outputs[i];
            bound_scatter(o, &g->values[g->outputs[o->output]].type, from[o->output], at,
                          out->schema, out, new_column(pe, out, o->field));
        }
        if (r->digest_field >= 0) {
            oxb_set_column(pe, out, (unsigned)r->digest_field, r->digest_column);
        }
        at += r->views[k]->pub.live;
        oxb_forward(pe, 0, out);
    }
}

/* Open all outputs, which waits for the run, then hand the batches on one after the other. */
static enum err read_run(struct oxb_pe *pe, struct runner *r, const struct flight *t,
                         struct fail *f)
{
    const struct graph *g = compiled_graph(t->compiled);
    const void **from = mem_array(g->output_count, sizeof *from);
    enum err e = ERR_OK;
    unsigned open = 0;
    for (; open < g->output_count && e == ERR_OK; open++) {
        e = compiled_output(t->compiled, t->slot, open, &from[open], f);
    }
    if (e == ERR_OK) {
        emit_views(pe, r, t, from);
    }
    struct fail ignored;
    for (unsigned i = 0; i < open && from[i] != NULL; i++) {
        enum err done = compiled_output_done(t->compiled, t->slot, i, from[i], &ignored);
        (void)done; /* it was read; a device that is lost shows at the next run */
    }
    mem_free(from);
    return e;
}

/* Read the oldest flight.  On an error but ERR_IO its rows are gone. */
static enum err land_one(struct oxb_pe *pe, struct runner *r, struct fail *f)
{
    struct flight t = r->flights[0];
    enum err e = read_run(pe, r, &t, f);
    uint64_t now = clock_now_us();
    uint64_t from = t.start_us > r->read_us ? t.start_us : r->read_us;
    meters_spent(&r->meters, (int64_t)(now - from));
    r->read_us = now;
    if (e == ERR_IO) {
        return e;
    }
    if (e == ERR_OK) {
        meters_ran(&r->meters, t.rows);
    }
    r->flight_count--;
    memmove(r->flights, r->flights + 1, r->flight_count * sizeof *r->flights);
    r->flown -= t.view_count;
    forget(r, 0, t.view_count);
    return e;
}

/* ---- all of them ---- */

/* R2: what was under way waits again, in front. */
static enum err leave_device(struct oxb_pe *pe, struct runner *r, struct fail *f)
{
    oxb_log(pe, OXB_WARN, "device lost with %u runs under way: %s", r->flight_count, f->what);
    meters_fell_back(&r->meters);
    for (unsigned i = 0; i < r->flight_count; i++) {
        r->waiting_rows += r->flights[i].rows;
    }
    r->flight_count = 0;
    r->flown = 0;
    r->next_slot = 0;
    enum err e = session_fall_back(r->session, f);
    if (e == ERR_OK) {
        meters_open(&r->meters, pe, r->digest, session_kind(r->session));
    }
    return e;
}

static bool can_start(const struct runner *r, enum runner_extent extent)
{
    return extent == RUN_WHOLE ? r->waiting_rows >= r->batch_max : r->waiting_rows > 0;
}

/* One step towards what was asked for; *done: there was none to make. */
static enum err step(struct oxb_pe *pe, struct runner *r, enum runner_extent extent, bool *done,
                     struct fail *f)
{
    unsigned slots = session_slots(r->session);
    if (can_start(r, extent) && r->flight_count < slots) {
        return start_run(r, f);
    }
    if (r->flight_count > (extent == RUN_LAND ? 0 : slots - 1)) {
        return land_one(pe, r, f);
    }
    *done = true;
    return ERR_OK;
}

/* A run that cannot be started fails behind those that were: they leave first. */
static enum err land_before(struct oxb_pe *pe, struct runner *r)
{
    struct fail ignored;
    enum err e = ERR_OK;
    while (r->flight_count > 0 && e == ERR_OK) {
        e = land_one(pe, r, &ignored);
    }
    return e;
}

int runner_go(struct oxb_pe *pe, struct runner *r, enum runner_extent extent)
{
    struct fail f = {0};
    bool done = false;
    if (!session_is_open(r->session)) {
        return oxb_fail(pe, "no device is left to run the model on");
    }
    while (!done) {
        enum err e = step(pe, r, extent, &done, &f);
        if (e == ERR_IO) {
            e = leave_device(pe, r, &f);
        }
        if (e != ERR_OK) {
            (void)land_before(pe, r); /* a device that is lost now is left at the next call */
            return oxb_fail(pe, "%s%s%s", f.what, f.hint[0] != '\0' ? "; " : "", f.hint);
        }
    }
    return OXB_OK;
}

void runner_forget(struct runner *r)
{
    forget(r, 0, r->view_count);
    r->flight_count = 0;
    r->flown = 0;
    r->waiting_rows = 0;
}

void runner_fini(struct runner *r)
{
    runner_forget(r);
    mem_free(r->views);
    session_free(r->session);
    binding_fini(&r->binding);
    *r = (struct runner){0};
}
