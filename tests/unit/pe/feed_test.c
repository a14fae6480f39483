/* tests/unit/pe/feed_test.c - tuples pushed by a program.
 *
 * Goal:   everything pushed arrives once and in order, though the program outruns the instance;
 *         the end reaches the instance; a second instance is refused.
 * Method: a thread pushes, this one runs the source in the harness or by hand. */
#include "pe/host.h"
#include "pe/registry.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ROWS 50000

struct seen {
    int64_t next;
    bool in_order;
};

static void *push(void *arg)
{
    struct oxb_feed *f = arg;
    for (int64_t i = 0; i < ROWS; i++) {
        struct oxb_writer *w = oxb_feed_writer(f);
        uint32_t r = oxb_row(w);
        oxb_put_i64(w, 0, r, i);
        oxb_put_str(w, 1, r, "some text", 9);
        oxb_commit(w);
        if (i % 1000 == 0) {
            oxb_feed_flush(f);
        }
    }
    oxb_feed_end(f);
    return NULL;
}

static void on_emit(void *ctx, unsigned port, struct batch *batch)
{
    struct seen *s = ctx;
    assert_int_equal(port, 0);
    assert_true(batch->pub.at_us > 0);
    OXB_EACH (&batch->pub, i) {
        s->in_order = s->in_order && oxb_i64s(&batch->pub, 0)[i] == s->next++;
    }
    batch_free(batch);
}
static void on_wake(void *ctx)
{
    (void)ctx;
}

static struct oxb_pe *instance(const char *type, struct seen *seen, struct pool *pool)
{
    const struct oxb_pe_type *t = registry_find(type);
    assert_non_null(t);
    struct pe_port_spec out = {.name = "out", .connected = true};
    assert_int_equal(schema_parse(t->outputs[0].schema, &out.schema, NULL), ERR_OK);
    struct pe_spec spec = {.type = t, .name = "f", .params = "{}", .parallelism = 1,
                           .outputs = &out, .output_count = 1};
    struct pe_host host = {.ctx = seen, .emit = on_emit, .wake = on_wake};
    struct oxb_pe *pe = pe_new(&spec, &host, pool);
    assert_int_equal(pe_prepare(pe, NULL), ERR_OK);
    return pe;
}

static void all_rows_arrive_in_order_across_a_change_of_the_instance(void **state)
{
    (void)state;
    struct pool *pool = pool_new(0);
    struct seen seen = {0, true};
    struct oxb_feed *f = oxb_feed_new("unit-feed", "n: i64, s: str");
    assert_non_null(f);
    assert_null(oxb_feed_new("unit-feed", "n: i64"));
    assert_null(oxb_feed_new("bad-feed", "n: number"));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, push, f), 0);
    struct oxb_pe *pe = instance("unit-feed", &seen, pool);
    struct oxb_pe *second = instance("unit-feed", &seen, pool);
    assert_int_equal(pe_start(pe, NULL), ERR_OK);
    struct fail why = {0};
    assert_int_not_equal(pe_start(second, &why), ERR_OK);
    assert_non_null(strstr(why.what, "parallelism 1"));
    pe_free(second);
    int result = OXB_OK;
    bool changed = false;
    while (result != OXB_END) {
        result = pe_produce(pe, 1024);
        assert_true(result == OXB_OK || result == OXB_IDLE || result == OXB_END);
        sched_yield();
        if (!changed && seen.next > ROWS / 2) {
            pe_free(pe); /* an upgrade: the next instance goes on where this one stopped */
            pe = instance("unit-feed", &seen, pool);
            assert_int_equal(pe_start(pe, NULL), ERR_OK);
            changed = true;
        }
    }
    pthread_join(thread, NULL);
    assert_true(changed && seen.in_order);
    assert_int_equal(seen.next, ROWS);
    pe_free(pe);
    pool_free(pool);
}

static void count_rows(void *arg, const struct oxb_batch *batch)
{
    *(int64_t *)arg += batch != NULL ? batch->live : 1000000;
}

static void collector_calls_the_program(void **state)
{
    (void)state;
    int64_t total = 0;
    char err[128] = "";
    assert_int_equal(oxb_collector_new("unit-counting", count_rows, &total), 0);
    struct oxb_harness *h = oxb_harness_new(registry_find("unit-counting"), NULL, "n: i64", NULL,
                                            err, sizeof err);
    assert_string_equal(err, "");
    assert_int_equal(oxb_harness_feed(h, "{\"n\":1}\n{\"n\":2}"), OXB_OK);
    assert_int_equal(oxb_harness_finish(h), OXB_OK);
    assert_int_equal(total, 1000002);
    oxb_harness_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_rows_arrive_in_order_across_a_change_of_the_instance),
        cmocka_unit_test(collector_calls_the_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
