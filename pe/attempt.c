/* pe/attempt.c - a call of `process` whose failure can be undone, and how a PE says that it failed.
 *
 * Threads:    the instance's.
 * Invariants: A1 after pe_attempt exactly the output of the rows that are done has left, and what
 *                earlier calls had written.
 *             A2 a row is done once: what was not done may be given to the PE again.
 * Why:        a batch is one call, but one tuple is what cannot be processed.  Most code changes
 *             nothing but its output before it fails, and that is held back; code that does more
 *             says how far it came.
 * See:        pe/pe.h (oxb_fail_at), worker/fault.h, tests/unit/pe/attempt_test.c */
#include "core/counter.h"
#include "pe/instance.h"
#include "pe/state.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

static uint64_t writes_of(const struct oxb_pe *pe)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < pe->state_count; i++) {
        n += state_writes(pe->states[i]);
    }
    return n;
}

/* Which of the live rows is `row`?  Return: their number when it is none of them. */
static uint32_t place_of(const struct oxb_batch *b, uint32_t row)
{
    for (uint32_t k = 0; k < b->live; k++) {
        if ((b->sel != NULL ? b->sel[k] : k) == row) {
            return k;
        }
    }
    return b->live;
}

int pe_attempt(struct oxb_pe *pe, unsigned port, struct batch *in, struct pe_attempt *out)
{
    assert(pe->phase == PE_STARTED && port < pe->input_count); /* P1 */
    struct batch *rows = batch_share(in); /* as they were: the PE may narrow what it is given */
    uint32_t live = in->pub.live;
    size_t bytes = batch_bytes(in);
    uint64_t writes = writes_of(pe);
    for (unsigned i = 0; i < pe->output_count; i++) {
        pe->outputs[i].writer_mark = pe->outputs[i].writer.pub.rows;
    }
    pe->careful = true;
    emit_begin(pe, in);
    pe->at_us = in->pub.at_us;
    int result = callback_end(pe, pe->type->process(pe, port, &in->pub));
    *out = (struct pe_attempt){.done = live};
    if (result == OXB_ERROR) {
        uint32_t at = pe->row_named ? place_of(&rows->pub, pe->failed_row) : live;
        out->named = at < live || live == 1;
        out->done = at < live ? at : 0;
        out->spoilt = !out->named && writes_of(pe) != writes;
    }
    batch_free(rows);
    if (result == OXB_ERROR && out->done == 0) {
        emit_take_back(pe);
    } else {
        emit_let_go(pe);
    }
    counter_add(&pe->counters.tuples_in, out->done);
    counter_add(&pe->counters.bytes_in, live > 0 ? bytes * out->done / live : 0);
    return result;
}

bool pe_bad_input(const struct oxb_pe *pe, struct oxb_str *out)
{
    *out = (struct oxb_str){pe->bad_input.data, (uint32_t)pe->bad_input.bytes};
    return pe->has_bad_input;
}

static void put_text(struct oxb_writer *w, unsigned field, uint32_t row, const char *text)
{
    oxb_put_str(w, field, row, text, (uint32_t)strlen(text));
}

bool pe_write_dead_letter(struct oxb_pe *pe, const struct pe_dead_letter *d)
{
    unsigned port = pe->output_count - 1;
    if (!pe->dead_letters || !pe->outputs[port].connected) {
        return false;
    }
    struct oxb_writer *w = oxb_writer(pe, port);
    uint32_t row = oxb_row(w);
    put_text(w, 0, row, d->pe);
    oxb_put_i64(w, 1, row, d->instance);
    put_text(w, 2, row, d->stream);
    put_text(w, 3, row, d->error);
    oxb_put_i64(w, 4, row, d->at_us);
    oxb_put_str(w, 5, row, d->tuple.p, d->tuple.len);
    oxb_commit(w);
    return true;
}

/* ---- what a PE says ---- */

static void fail_text(struct oxb_pe *pe, const char *fmt, va_list ap)
{
    vsnprintf(pe->error, sizeof pe->error, fmt, ap);
    for (char *c = pe->error; *c != '\0'; c++) {
        *c = *c == '\n' || *c == '\r' ? ' ' : *c; /* struct fail holds one line */
    }
    pe->failed = true;
    pe->row_named = false;
    strbuf_clear(&pe->bad_input);
}

int oxb_fail(struct oxb_pe *pe, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_text(pe, fmt, ap);
    va_end(ap);
    return OXB_ERROR;
}

int oxb_fail_at(struct oxb_pe *pe, uint32_t row, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_text(pe, fmt, ap);
    va_end(ap);
    return oxb_failed_at(pe, row);
}

int oxb_fail_input(struct oxb_pe *pe, const char *data, size_t bytes, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_text(pe, fmt, ap);
    va_end(ap);
    size_t kept = bytes < BAD_INPUT_BYTES_MAX ? bytes : BAD_INPUT_BYTES_MAX;
    if (data != NULL && kept > 0) {
        strbuf_add(&pe->bad_input, data, kept);
    } else {
        strbuf_char(&pe->bad_input, '\0'); /* there was some: it is said so */
    }
    return OXB_ERROR;
}

const bool *oxb_failing(struct oxb_pe *pe)
{
    return &pe->failed;
}

int oxb_failed_at(struct oxb_pe *pe, uint32_t row)
{
    pe->row_named = true;
    pe->failed_row = row;
    return OXB_ERROR;
}

/* References that were not filled yet may be anything, and rows that are not live must still hold
 * good ones (B2). */
static void clear_refs(struct oxb_pe *pe, struct batch *b, uint32_t row)
{
    for (uint32_t f = 0; f < b->pub.schema->field_count; f++) {
        struct oxb_col *c = &b->pub.cols[f];
        bool shared = c->data == NULL || !type_has_heap(b->pub.schema->fields[f].type);
        for (uint32_t k = 0; !shared && pe->input != NULL && k < pe->input->pub.schema->field_count;
             k++) {
            shared = pe->input->pub.cols[k].data == c->data;
        }
        if (!shared && c->heap != NULL) {
            memset((struct oxb_ref *)c->data + row, 0,
                   (b->pub.rows - row) * sizeof(struct oxb_ref));
        }
    }
}

void oxb_cut_at(struct oxb_pe *pe, struct oxb_batch *derived, uint32_t row)
{
    struct batch *b = batch_of(derived);
    uint16_t sel[BATCH_ROWS_MAX];
    uint32_t n = 0;
    OXB_EACH (derived, i) {
        if (i < row) {
            sel[n++] = (uint16_t)i;
        }
    }
    clear_refs(pe, b, row);
    oxb_keep(derived, sel, n);
}
