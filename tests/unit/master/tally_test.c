/* tests/unit/master/tally_test.c - predictions follow what receipts measured.
 *
 * Goal:   receipts with a pause move the prediction towards it; those without an input that waited,
 *         or that are not done, do not; only the newest count.
 * Method: receipts as JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "master/tally.h"

static const struct pause_features features = {
    .v = {[PAUSE_BASE] = 1, [PAUSE_MEMBERS] = 4, [PAUSE_DEPTH] = 1}};

static void learn(struct tally *t, const char *result, int inputs, int pause_us)
{
    json_t *f = tally_features(&features);
    json_t *r = json_pack("{s:s, s:{s:i, s:i, s:i}}", "result", result, "pause_us", "max",
                          pause_us, "p99", pause_us, "inputs", inputs);
    tally_count(t, r);
    tally_learn(t, f, r);
    json_decref(r);
    json_decref(f);
}

static double predicted(const struct tally *t)
{
    struct pause_model m = tally_model(t);
    return (double)pause_model_predict_us(&m, &features);
}

static void predictions_follow_what_was_measured(void **state)
{
    (void)state;
    static struct tally t;
    double first = predicted(&t);
    for (int i = 0; i < 40; i++) {
        learn(&t, "done", 3, 20000);
    }
    double slow = predicted(&t);
    assert_true(slow > 4 * first && slow > 10000);
    for (int i = 0; i < PAUSE_SAMPLES; i++) { /* the old ones are forgotten */
        learn(&t, "done", 3, 100);
    }
    assert_true(predicted(&t) < slow / 4);
    assert_int_equal(t.count, PAUSE_SAMPLES);
    assert_int_equal(t.results[TALLY_DONE], 40 + PAUSE_SAMPLES);
    assert_int_equal(t.pause_us.count, 40 + PAUSE_SAMPLES);
}

static void what_measured_nothing_teaches_nothing(void **state)
{
    (void)state;
    static struct tally t;
    learn(&t, "done", 0, 0);
    learn(&t, "aborted", 2, 9000);
    learn(&t, "failed", 2, 9000);
    json_t *r = json_object(), *f = json_array();
    tally_count(&t, r);
    tally_learn(&t, f, r);
    json_decref(r);
    json_decref(f);
    assert_int_equal(t.count, 0);
    assert_int_equal(t.results[TALLY_ABORTED], 1);
    assert_int_equal(t.results[TALLY_FAILED], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(predictions_follow_what_was_measured),
        cmocka_unit_test(what_measured_nothing_teaches_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
