/* pe/emit.c - how tuples leave an instance: forwarded batches, derived views, open writers.
 *
 * Threads:    the instance's.
 * Invariants: M1 batches leave a port in the order in which the PE handed them on; rows in the
 *                port's writer leave before a batch that is forwarded after them.
 *             M2 a batch that was handed on stays readable until the callback returns; it is
 *                changed only after the engine has kept a view of what was handed on.
 *             M3 nothing derived in a callback outlives it (P2).
 *             M4 of a careful call nothing leaves before it is known whether it succeeded.
 * Why:        the last batch handed on is kept back (`pending`) until something else leaves or the
 *             callback returns: then the PE needs it no more, and the very view travels on, with
 *             its columns unshared, so that the next PE may write them in place.
 * See:        pe/pe.h (emitting), tests/unit/pe/emit_test.c */
#include "core/counter.h"
#include "pe/instance.h"

#include "core/clock.h"
#include "core/mem.h"

#include <assert.h>
#include <inttypes.h>

static void settle(struct oxb_pe *pe);
static void hand_over(struct oxb_pe *pe, unsigned port, struct batch *b TAKES);
static void hand_over_with(struct oxb_pe *pe, unsigned port, struct batch *b TAKES,
                           uint32_t before);
static void deliver(struct oxb_pe *pe, unsigned port, struct batch *b TAKES);
static void writer_emit(struct out_port *out);
static void writer_on_full(void *arg, struct builder *b);
static const int16_t *derive_map(struct out_port *out, const struct oxb_schema *from);
static bool is_complete(struct oxb_pe *pe, const struct out_port *out, const struct batch *b);

/* ---- the frame of one callback ---- */

void emit_begin(struct oxb_pe *pe, struct batch *input)
{
    assert(pe->depth == 0 && "an instance is entered once at a time");
    pe->depth = 1;
    pe->input = input;
    pe->row_named = false;
    strbuf_clear(&pe->bad_input);
    pe->at_us = 0;
    pe->now_us = 0;
    pe->mono_us = 0;
}

void emit_end(struct oxb_pe *pe)
{
    struct batch *last = pe->pending;
    unsigned port = pe->pending_port;
    bool ours = last == NULL || last == pe->input;
    if (pe->input != last) {
        batch_free(pe->input);
    }
    for (size_t i = 0; i < pe->derived_count; i++) {
        if (pe->derived[i] == last) {
            ours = true;
        } else {
            batch_free(pe->derived[i]);
        }
    }
    assert(ours);
    (void)ours;
    pe->input = NULL;
    pe->derived_count = 0;
    pe->pending = NULL;
    if (last != NULL) {
        last->pending = NULL;
        hand_over(pe, port, last);
    }
    pe->depth = 0;
}

void emit_let_go(struct oxb_pe *pe)
{
    pe->careful = false;
    for (size_t n = 0; n < pe->outbox_count; n++) {
        deliver(pe, pe->outbox[n].port, pe->outbox[n].batch);
    }
    pe->outbox_count = 0;
}

void emit_take_back(struct oxb_pe *pe)
{
    size_t kept = 0;
    for (size_t n = 0; n < pe->outbox_count; n++) {
        struct outgoing *o = &pe->outbox[n];
        if (o->before == 0) {
            batch_free(o->batch);
            continue;
        }
        uint16_t sel[BATCH_ROWS_MAX];
        for (uint32_t row = 0; row < o->before; row++) {
            sel[row] = (uint16_t)row;
        }
        batch_narrow(o->batch, sel, o->before);
        pe->outbox[kept++] = *o;
    }
    pe->outbox_count = kept;
    for (unsigned i = 0; i < pe->output_count; i++) {
        struct out_port *out = &pe->outputs[i];
        if (out->writer.pub.rows > out->writer_mark) { /* the bytes of their strings stay, unused */
            out->writer.pub.rows = out->writer_mark;
        }
    }
    emit_let_go(pe);
}

void emit_fini(struct oxb_pe *pe)
{
    for (size_t n = 0; n < pe->outbox_count; n++) {
        batch_free(pe->outbox[n].batch);
    }
    mem_free(pe->outbox);
    for (unsigned i = 0; i < pe->output_count; i++) {
        builder_fini(&pe->outputs[i].writer);
        mem_free(pe->outputs[i].derive_map);
    }
    mem_free(pe->derived);
}

void emit_batch(struct oxb_pe *pe, unsigned port, struct batch *batch)
{
    assert(port < pe->output_count);
    assert(batch->pub.schema == pe->outputs[port].schema);
    settle(pe);
    writer_emit(&pe->outputs[port]); /* M1 */
    hand_over(pe, port, batch);
}

/* ---- forwarding ---- */

void oxb_forward(struct oxb_pe *pe, unsigned port, struct oxb_batch *batch)
{
    struct batch *b = batch_of(batch);
    if (port >= pe->output_count) {
        oxb_fail(pe, "a batch was forwarded to output port %u of %u", port, pe->output_count);
        return;
    }
    struct out_port *out = &pe->outputs[port];
    if (batch->live == 0 || !out->connected) {
        return;
    }
    if (batch->schema != out->schema) {
        oxb_fail(pe, "a batch of schema `%.100s` was forwarded to a port of schema `%.100s`",
                 batch->schema->text, out->schema->text);
        return;
    }
    if (!is_complete(pe, out, b)) {
        return;
    }
    settle(pe);
    writer_emit(out); /* M1 */
    bool ours = b == pe->input;
    for (size_t i = 0; i < pe->derived_count && !ours; i++) {
        ours = pe->derived[i] == b;
    }
    if (!ours) { /* kept by the PE itself: it stays the PE's */
        hand_over(pe, port, batch_share(b));
        return;
    }
    b->pending = pe;
    pe->pending = b;
    pe->pending_port = port;
}

void oxb_keep(struct oxb_batch *batch, const uint16_t *sel, uint32_t live)
{
    struct batch *b = batch_of(batch);
    emit_before_change(b);
    batch_narrow(b, sel, live);
}

uint16_t *oxb_sel(struct oxb_pe *pe)
{
    return pe->sel;
}

struct oxb_batch *oxb_derive(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    assert(port < pe->output_count && pe->depth > 0);
    struct out_port *out = &pe->outputs[port];
    struct batch *b = in->schema == out->schema
                          ? batch_share(batch_of(in))
                          : batch_project(batch_of(in), out->schema, derive_map(out, in->schema));
    pe->derived =
        mem_grow(pe->derived, pe->derived_count, &pe->derived_capacity, sizeof *pe->derived);
    pe->derived[pe->derived_count++] = b;
    return &b->pub;
}

/* ---- columns of a derived batch ---- */

static void *new_column(struct oxb_batch *b, unsigned field, uint32_t heap_bytes)
{
    emit_before_change(batch_of(b));
    batch_column_new(batch_of(b), field, heap_bytes);
    return b->cols[field].data;
}

int64_t *oxb_new_i64s(struct oxb_pe *pe, struct oxb_batch *b, unsigned field)
{
    (void)pe;
    assert(b->schema->fields[field].type == OXB_I64 || b->schema->fields[field].type == OXB_TIME);
    return new_column(b, field, 0);
}

double *oxb_new_f64s(struct oxb_pe *pe, struct oxb_batch *b, unsigned field)
{
    (void)pe;
    assert(b->schema->fields[field].type == OXB_F64);
    return new_column(b, field, 0);
}

uint8_t *oxb_new_bools(struct oxb_pe *pe, struct oxb_batch *b, unsigned field)
{
    (void)pe;
    assert(b->schema->fields[field].type == OXB_BOOL);
    return new_column(b, field, 0);
}

float *oxb_new_f32s(struct oxb_pe *pe, struct oxb_batch *b, unsigned field)
{
    (void)pe;
    assert(b->schema->fields[field].type == OXB_F32);
    return new_column(b, field, 0);
}

struct oxb_ref *oxb_new_refs(struct oxb_pe *pe, struct oxb_batch *b, unsigned field,
                             uint32_t heap_bytes, uint8_t **heap)
{
    (void)pe;
    assert(type_has_heap(b->schema->fields[field].type));
    struct oxb_ref *refs = new_column(b, field, heap_bytes);
    if (b->live < b->rows) { /* rows that are not live must still hold good refs (B2) */
        memset(refs, 0, b->rows * sizeof *refs);
    }
    *heap = (uint8_t *)(uintptr_t)b->cols[field].heap; /* ours to write until it is handed on */
    return refs;
}

int64_t *oxb_own_i64s(struct oxb_pe *pe, struct oxb_batch *b, unsigned field)
{
    (void)pe;
    assert(b->schema->fields[field].type == OXB_I64 || b->schema->fields[field].type == OXB_TIME);
    emit_before_change(batch_of(b));
    batch_column_own(batch_of(b), field);
    return b->cols[field].data;
}

double *oxb_own_f64s(struct oxb_pe *pe, struct oxb_batch *b, unsigned field)
{
    (void)pe;
    assert(b->schema->fields[field].type == OXB_F64);
    emit_before_change(batch_of(b));
    batch_column_own(batch_of(b), field);
    return b->cols[field].data;
}

/* ---- writers ---- */

struct oxb_writer *oxb_writer(struct oxb_pe *pe, unsigned port)
{
    assert(port < pe->output_count);
    struct out_port *out = &pe->outputs[port];
    if (out->writer.schema == NULL) {
        builder_init(&out->writer, pe->pool, out->schema, writer_on_full, out);
    }
    if (out->writer.pub.rows == 0) {
        if (pe->at_us == 0 && pe->input == NULL) {
            pe->at_us = oxb_now_us(pe);
        }
        out->writer.at_us = pe->at_us;
    }
    return &out->writer.pub;
}

void pe_flush_writers(struct oxb_pe *pe)
{
    for (unsigned i = 0; i < pe->output_count; i++) {
        writer_emit(&pe->outputs[i]);
    }
}

bool pe_has_open(const struct oxb_pe *pe)
{
    for (unsigned i = 0; i < pe->output_count; i++) {
        if (pe->outputs[i].writer.pub.rows > 0) {
            return true;
        }
    }
    return false;
}

static void writer_on_full(void *arg, struct builder *b)
{
    (void)b;
    writer_emit(arg);
}

static void writer_emit(struct out_port *out)
{
    struct oxb_pe *pe = out->pe;
    if (out->writer.pub.rows == 0) {
        return;
    }
    struct batch *b = builder_finish(&out->writer);
    if (b->pub.at_us == 0) {
        b->pub.at_us = pe->at_us;
    }
    out->writer.at_us = pe->at_us; /* of the rows this callback goes on to write */
    if (out->writer.tuple_bytes_over > 0) {
        oxb_fail(pe, "a tuple of %" PRIu64 " bytes exceeds the limit of %u",
                 out->writer.tuple_bytes_over, TUPLE_BYTES_MAX);
        out->writer.tuple_bytes_over = 0;
        batch_free(b);
        return;
    }
    uint32_t before = out->writer_mark;
    out->writer_mark = 0;
    settle(pe); /* M1: what was handed on before these rows were written */
    hand_over_with(pe, out->index, b, before);
}

/* ---- helpers ---- */

/* Let the batch kept back go: a share of it, for the PE may still read it (M2). */
static void settle(struct oxb_pe *pe)
{
    struct batch *b = pe->pending;
    if (b == NULL) {
        return;
    }
    pe->pending = NULL;
    b->pending = NULL;
    hand_over(pe, pe->pending_port, batch_share(b));
}

void emit_before_change(struct batch *b)
{
    if (b->pending != NULL) {
        settle(b->pending);
    }
}

static void hand_over(struct oxb_pe *pe, unsigned port, struct batch *b)
{
    hand_over_with(pe, port, b, 0);
}

static void hand_over_with(struct oxb_pe *pe, unsigned port, struct batch *b, uint32_t before)
{
    if (!pe->outputs[port].connected || b->pub.live == 0) {
        batch_free(b);
    } else if (pe->careful) {
        pe->outbox =
            mem_grow(pe->outbox, pe->outbox_count, &pe->outbox_capacity, sizeof *pe->outbox);
        pe->outbox[pe->outbox_count++] = (struct outgoing){port, before, b};
    } else {
        deliver(pe, port, b);
    }
}

static void deliver(struct oxb_pe *pe, unsigned port, struct batch *b)
{
    counter_add(&pe->counters.tuples_out, b->pub.live);
    counter_add(&pe->counters.batches_out, 1);
    counter_add(&pe->counters.bytes_out, batch_bytes(b));
    pe->host.emit(pe->host.ctx, port, b);
}

static const int16_t *derive_map(struct out_port *out, const struct oxb_schema *from)
{
    if (out->derived_from == from) {
        return out->derive_map;
    }
    uint32_t count = out->schema->field_count;
    if (out->derive_map == NULL) {
        out->derive_map = mem_array(count, sizeof *out->derive_map);
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct oxb_field *to = &out->schema->fields[i];
        int k = oxb_field(from, to->name);
        if (k >= 0) {
            const struct oxb_field *have = &from->fields[k];
            bool same = have->type == to->type && have->dim_count == to->dim_count;
            for (uint32_t d = 0; same && d < to->dim_count; d++) {
                same = have->dims[d] == to->dims[d];
            }
            k = same ? k : -1;
        }
        out->derive_map[i] = (int16_t)k;
    }
    out->derived_from = from;
    return out->derive_map;
}

static bool is_complete(struct oxb_pe *pe, const struct out_port *out, const struct batch *b)
{
    for (uint32_t i = 0; i < out->schema->field_count; i++) {
        if (b->pub.cols[i].data == NULL) {
            oxb_fail(pe, "field `%s` of a derived batch was not set before oxb_forward",
                     out->schema->fields[i].name);
            return false;
        }
    }
    return true;
}
