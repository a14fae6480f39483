/* tests/unit/pe/emit_test.c - the order and ownership of what an instance emits.
 *
 * Goal:   M1-M3 of pe/emit.c: order per port is the order of the calls, a batch that was handed on
 *         does not change any more, and nothing leaks; counters and stamps are right.
 * Method: a PE whose process is a function pointer set by the test; a host that records. */
#include "core/limits.h"
#include "pe/host.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct record {
    struct batch *batches[64];
    unsigned ports[64];
    unsigned count;
};

struct rig {
    struct pool *pool;
    struct record record;
    struct oxb_pe *pe;
    const struct oxb_schema *schema;
};

typedef int process_fn(struct oxb_pe *pe, unsigned port, struct oxb_batch *in);

static void on_emit(void *ctx, unsigned port, struct batch *batch)
{
    struct record *r = ctx;
    assert_true(batch->pub.live > 0);
    r->ports[r->count] = port;
    r->batches[r->count++] = batch;
}
static void on_timer_set(void *ctx, uint64_t id, uint64_t due)
{
    (void)ctx, (void)id, (void)due;
}
static void on_timer_clear(void *ctx, uint64_t id)
{
    (void)ctx, (void)id;
}
static int on_watch(void *ctx, int fd, uint32_t events)
{
    (void)ctx, (void)fd, (void)events;
    return 0;
}
static void on_wake(void *ctx)
{
    (void)ctx;
}

static void rig_open(struct rig *r, struct oxb_pe_type *type, process_fn *process)
{
    static const struct oxb_port outputs[] = {{"a", "*", ""}, {"b", "*", ""}, {0}};
    *r = (struct rig){.pool = pool_new(1u << 20)};
    assert_int_equal(schema_parse("n: i64, s: str", &r->schema, NULL), ERR_OK);
    *type = (struct oxb_pe_type){.abi = OXB_ABI, .name = "rig", .outputs = outputs,
                                 .state_version = 1, .process = process};
    struct pe_port_spec in = {"in", r->schema, true};
    struct pe_port_spec out[] = {{"a", r->schema, true}, {"b", r->schema, true}};
    struct pe_spec spec = {.type = type, .name = "rig", .params = "{}", .parallelism = 1,
                           .inputs = &in, .input_count = 1, .outputs = out, .output_count = 2};
    struct pe_host host = {&r->record, on_emit, on_timer_set, on_timer_clear, on_watch, on_wake};
    r->pe = pe_new(&spec, &host, r->pool);
    assert_int_equal(pe_prepare(r->pe, NULL), ERR_OK);
    assert_int_equal(pe_start(r->pe, NULL), ERR_OK);
}

static struct batch *rows(struct rig *r, int64_t first, uint32_t count)
{
    struct builder b;
    builder_init(&b, r->pool, r->schema, NULL, NULL);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t row = oxb_row(&b.pub);
        oxb_put_i64(&b.pub, 0, row, first + i);
        oxb_put_str(&b.pub, 1, row, "x", 1);
        oxb_commit(&b.pub);
    }
    b.at_us = 5000;
    struct batch *out = builder_finish(&b);
    builder_fini(&b);
    return out;
}

static int64_t value(const struct rig *r, unsigned i, uint32_t k)
{
    const struct oxb_batch *b = &r->record.batches[i]->pub;
    return oxb_i64s(b, 0)[b->sel != NULL ? b->sel[k] : k];
}

static void rig_close(struct rig *r)
{
    pe_stop(r->pe);
    pe_free(r->pe);
    for (unsigned i = 0; i < r->record.count; i++) {
        batch_free(r->record.batches[i]);
    }
    assert_int_equal(pool_bytes_used(r->pool), 0);
    pool_free(r->pool);
}

static void put(struct oxb_pe *pe, unsigned port, int64_t v)
{
    struct oxb_writer *w = oxb_writer(pe, port);
    uint32_t row = oxb_row(w);
    oxb_put_i64(w, 0, row, v);
    oxb_put_str(w, 1, row, "w", 1);
    oxb_commit(w);
}

static int forward_once(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    oxb_forward(pe, port, in);
    return OXB_OK;
}
static void forwarded_input_is_the_very_view(void **state)
{
    (void)state;
    struct rig r;
    struct oxb_pe_type type;
    rig_open(&r, &type, forward_once);
    struct batch *in = rows(&r, 0, 100);
    assert_int_equal(pe_process(r.pe, 0, in), OXB_OK);
    assert_int_equal(r.record.count, 1);
    assert_ptr_equal(r.record.batches[0], in);
    assert_int_equal(r.record.batches[0]->pub.at_us, 5000);
    struct pe_counters *c = pe_counters(r.pe);
    assert_int_equal(c->tuples_in, 100);
    assert_int_equal(c->tuples_out, 100);
    assert_int_equal(c->batches_out, 1);
    assert_int_equal(c->bytes_in, c->bytes_out);
    rig_close(&r);
}

static int forward_then_change(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port;
    oxb_forward(pe, 0, in);
    int64_t *n = oxb_own_i64s(pe, in, 0);
    for (uint32_t i = 0; i < in->rows; i++) {
        n[i] += 1000;
    }
    uint16_t *sel = oxb_sel(pe);
    sel[0] = 1;
    oxb_keep(in, sel, 1);
    oxb_forward(pe, 1, in);
    return oxb_i64s(in, 0)[0] == 1000 ? OXB_OK : oxb_fail(pe, "the batch is gone");
}
static void batch_forwarded_twice_keeps_what_it_was(void **state)
{
    (void)state;
    struct rig r;
    struct oxb_pe_type type;
    rig_open(&r, &type, forward_then_change);
    assert_int_equal(pe_process(r.pe, 0, rows(&r, 0, 4)), OXB_OK);
    assert_int_equal(r.record.count, 2);
    assert_int_equal(r.record.ports[1], 1);
    assert_int_equal(r.record.batches[0]->pub.live, 4);
    assert_int_equal(value(&r, 0, 3), 3);
    assert_int_equal(r.record.batches[1]->pub.live, 1);
    assert_int_equal(value(&r, 1, 0), 1001);
    rig_close(&r);
}

static int mix(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port;
    put(pe, 0, -1);
    oxb_forward(pe, 0, in);
    put(pe, 0, -2);
    struct oxb_batch *d = oxb_derive(pe, 0, in);
    oxb_forward(pe, 0, d);
    put(pe, 0, -3);
    return OXB_OK;
}
static void rows_and_batches_keep_the_order_of_the_calls(void **state)
{
    (void)state;
    struct rig r;
    struct oxb_pe_type type;
    rig_open(&r, &type, mix);
    assert_int_equal(pe_process(r.pe, 0, rows(&r, 7, 2)), OXB_OK);
    assert_true(pe_has_open(r.pe));
    pe_flush_writers(r.pe);
    assert_false(pe_has_open(r.pe));
    static const int64_t want[] = {-1, 7, -2, 7, -3};
    assert_int_equal(r.record.count, 5);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(value(&r, i, 0), want[i]);
        assert_int_equal(r.record.batches[i]->pub.at_us, 5000);
    }
    rig_close(&r);
}

static int fill_writer(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port;
    oxb_forward(pe, 0, in);
    for (int64_t i = 0; i < 3000; i++) {
        put(pe, 0, i);
    }
    return OXB_OK;
}
static void full_writers_leave_after_what_was_forwarded_before(void **state)
{
    (void)state;
    struct rig r;
    struct oxb_pe_type type;
    rig_open(&r, &type, fill_writer);
    assert_int_equal(pe_process(r.pe, 0, rows(&r, -9, 1)), OXB_OK);
    pe_flush_writers(r.pe);
    assert_int_equal(value(&r, 0, 0), -9);
    int64_t next = 0;
    for (unsigned i = 1; i < r.record.count; i++) {
        for (uint32_t k = 0; k < r.record.batches[i]->pub.rows; k++) {
            assert_int_equal(value(&r, i, k), next++);
        }
    }
    assert_int_equal(next, 3000);
    assert_int_equal(pe_counters(r.pe)->tuples_out, 3001);
    rig_close(&r);
}

static int constants(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port;
    struct oxb_batch *d = oxb_derive(pe, 0, in);
    struct oxb_const *n = oxb_const_i64(pe, 42);
    struct oxb_const *s = oxb_const_str(pe, "same", 4);
    oxb_set_column(pe, d, 0, n);
    oxb_set_column(pe, d, 1, s);
    oxb_forward(pe, 0, d);
    int64_t *own = oxb_own_i64s(pe, d, 0); /* the constant itself must not change */
    own[0] = 7;
    struct oxb_batch *e = oxb_derive(pe, 0, in);
    oxb_set_column(pe, e, 0, n);
    oxb_forward(pe, 0, e);
    return OXB_OK;
}
static void constants_are_shared_and_never_written(void **state)
{
    (void)state;
    struct rig r;
    struct oxb_pe_type type;
    rig_open(&r, &type, constants);
    assert_int_equal(pe_process(r.pe, 0, rows(&r, 0, 300)), OXB_OK);
    assert_int_equal(r.record.count, 2);
    assert_int_equal(value(&r, 0, 0), 42);
    assert_int_equal(value(&r, 0, 299), 42);
    assert_int_equal(value(&r, 1, 0), 42);
    struct oxb_str s = oxb_str_at(&r.record.batches[0]->pub, 1, 299);
    assert_int_equal(s.len, 4);
    assert_memory_equal(s.p, "same", 4);
    rig_close(&r);
}

static int too_large(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port, (void)in;
    struct oxb_writer *w = oxb_writer(pe, 0);
    uint32_t row = oxb_row(w);
    oxb_put_i64(w, 0, row, 1);
    memset(oxb_put_space(w, 1, row, TUPLE_BYTES_MAX + 1), 'x', TUPLE_BYTES_MAX + 1);
    oxb_commit(w);
    put(pe, 0, 2);
    return OXB_OK;
}
static void tuple_over_the_limit_is_an_error_not_a_crash(void **state)
{
    (void)state;
    struct rig r;
    struct oxb_pe_type type;
    rig_open(&r, &type, too_large);
    assert_int_equal(pe_process(r.pe, 0, rows(&r, 0, 1)), OXB_ERROR);
    assert_non_null(strstr(pe_error(r.pe), "exceeds the limit"));
    assert_int_equal(pe_counters(r.pe)->errors, 1);
    rig_close(&r);
}

static int wrong_schema(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port;
    const struct oxb_schema *kept = in->schema;
    static const struct oxb_schema other = {.id = 1, .text = "other: i64"};
    in->schema = &other;
    oxb_forward(pe, 0, in);
    in->schema = kept;
    return OXB_OK;
}
static void batch_of_another_schema_is_an_error(void **state)
{
    (void)state;
    struct rig r;
    struct oxb_pe_type type;
    rig_open(&r, &type, wrong_schema);
    assert_int_equal(pe_process(r.pe, 0, rows(&r, 0, 1)), OXB_ERROR);
    assert_non_null(strstr(pe_error(r.pe), "other: i64"));
    rig_close(&r);
}

static int many_views(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port;
    for (uint16_t i = 0; i < 40; i++) {
        struct oxb_batch *d = oxb_derive(pe, 0, in);
        oxb_keep(d, &i, 1);
        oxb_forward(pe, i % 2, d);
    }
    return OXB_OK;
}
static void any_number_of_views_may_be_derived(void **state)
{
    (void)state;
    struct rig r;
    struct oxb_pe_type type;
    rig_open(&r, &type, many_views);
    assert_int_equal(pe_process(r.pe, 0, rows(&r, 0, 40)), OXB_OK);
    assert_int_equal(r.record.count, 40);
    for (unsigned i = 0; i < 40; i++) {
        assert_int_equal(r.record.ports[i], i % 2);
        assert_int_equal(value(&r, i, 0), i);
    }
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forwarded_input_is_the_very_view),
        cmocka_unit_test(batch_forwarded_twice_keeps_what_it_was),
        cmocka_unit_test(rows_and_batches_keep_the_order_of_the_calls),
        cmocka_unit_test(full_writers_leave_after_what_was_forwarded_before),
        cmocka_unit_test(constants_are_shared_and_never_written),
        cmocka_unit_test(tuple_over_the_limit_is_an_error_not_a_crash),
        cmocka_unit_test(batch_of_another_schema_is_an_error),
        cmocka_unit_test(any_number_of_views_may_be_derived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
