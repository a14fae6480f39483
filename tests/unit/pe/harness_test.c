/* tests/unit/pe/harness_test.c - the harness runs PEs as a topology would.
 *
 * Goal:   a PE written with the public header only works in the harness: filter, map, flat-map,
 *         source, timers of both kinds, snapshot, errors.
 * Method: small PEs defined here; output compared as JSON lines. */
#include "pe/pe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEQ 0

static struct oxb_harness *open_harness(const struct oxb_pe_type *type, const char *params,
                                        const char *in, const char *out)
{
    char err[512] = "";
    struct oxb_harness *h = oxb_harness_new(type, params, in, out, err, sizeof err);
    assert_string_equal(err, "");
    assert_non_null(h);
    return h;
}

/* ---- filter ---- */
static bool is_even(struct oxb_pe *pe, const struct oxb_batch *in, uint32_t i)
{
    (void)pe;
    return oxb_i64s(in, 0)[i] % 2 == 0;
}
OXB_FILTER(even_process, is_even)
static const struct oxb_port same_out[] = {{"out", "*", ""}, {0}};
static const struct oxb_pe_type even = {
    .abi = OXB_ABI, .name = "even", .outputs = same_out, .state_version = 1,
    .process = even_process};

static void filter_passes_what_matches(void **state)
{
    (void)state;
    struct oxb_harness *h = open_harness(&even, NULL, "n: i64, s: str", NULL);
    assert_int_equal(oxb_harness_feed(h, "{\"n\":1,\"s\":\"a\"}\n{\"n\":2,\"s\":\"b\"}\n"
                                         "{\"n\":4,\"s\":\"c\"}"), OXB_OK);
    assert_int_equal(oxb_harness_feed(h, "{\"n\":7,\"s\":\"x\"}"), OXB_OK);
    assert_string_equal(oxb_harness_output(h, 0),
                        "{\"n\":2,\"s\":\"b\"}\n{\"n\":4,\"s\":\"c\"}\n");
    oxb_harness_free(h);
}

/* ---- map with a new column, parameters and a default ---- */
static void twice_setup(struct oxb_pe *pe, struct oxb_batch *in, struct oxb_batch *out)
{
    (void)in;
    oxb_new_f64s(pe, out, (unsigned)oxb_field(out->schema, "half"));
}
static void twice_row(struct oxb_pe *pe, const struct oxb_batch *in, uint32_t i,
                      struct oxb_batch *out)
{
    double by = oxb_param_f64(pe, "by");
    ((double *)out->cols[oxb_field(out->schema, "half")].data)[i] =
        (double)oxb_i64s(in, 0)[i] / by;
}
OXB_MAP(twice_process, twice_setup, twice_row)
static const struct oxb_param twice_params[] = {
    {"by", OXB_P_F64, 0, "2", NULL, 0, 0, "divisor"}, {0}};
static const struct oxb_port twice_out[] = {{"out", "*, half: f64", ""}, {0}};
static const struct oxb_pe_type twice = {.abi = OXB_ABI, .name = "twice",
    .params = twice_params, .outputs = twice_out, .state_version = 1, .process = twice_process};

static void map_adds_a_column_with_the_default_parameter(void **state)
{
    (void)state;
    struct oxb_harness *h = open_harness(&twice, "{}", "n: i64", NULL);
    assert_int_equal(oxb_harness_feed(h, "{\"n\":3}"), OXB_OK);
    assert_string_equal(oxb_harness_output(h, 0), "{\"n\":3,\"half\":1.5}\n");
    oxb_harness_free(h);
}

/* ---- flat-map ---- */
static void letters_row(struct oxb_pe *pe, const struct oxb_batch *in, uint32_t i,
                        struct oxb_writer *out)
{
    (void)pe;
    struct oxb_str s = oxb_str_at(in, 0, i);
    for (uint32_t k = 0; k < s.len; k++) {
        uint32_t r = oxb_row(out);
        oxb_put_str(out, 0, r, s.p + k, 1);
        oxb_commit(out);
    }
}
OXB_FLATMAP(letters_process, letters_row)
static const struct oxb_port letters_out[] = {{"out", "letter: str", ""}, {0}};
static const struct oxb_pe_type letters = {.abi = OXB_ABI, .name = "letters", .flags = OXB_MANY,
    .outputs = letters_out, .state_version = 1, .process = letters_process};

static void flat_map_writes_rows_of_its_own(void **state)
{
    (void)state;
    struct oxb_harness *h = open_harness(&letters, NULL, "s: str", NULL);
    assert_int_equal(oxb_harness_feed(h, "{\"s\":\"ab\"}\n{\"s\":\"\"}\n{\"s\":\"c\"}"), OXB_OK);
    assert_string_equal(oxb_harness_output(h, 0),
                        "{\"letter\":\"a\"}\n{\"letter\":\"b\"}\n{\"letter\":\"c\"}\n");
    oxb_harness_free(h);
}

/* ---- a source with a position ---- */
struct ramp {
    int64_t next;
};
static int ramp_produce(struct oxb_pe *pe, uint32_t rows_max)
{
    struct ramp *self = oxb_self(pe);
    struct oxb_writer *w = oxb_writer(pe, 0);
    for (uint32_t i = 0; i < rows_max && i < 3; i++) {
        if (self->next == oxb_param_i64(pe, "count")) {
            return OXB_END;
        }
        oxb_put_i64(w, SEQ, oxb_row(w), self->next++);
        oxb_commit(w);
    }
    return OXB_OK;
}
static int ramp_snapshot(struct oxb_pe *pe, struct oxb_blob *out)
{
    oxb_blob_add(out, oxb_self(pe), sizeof(struct ramp));
    return OXB_OK;
}
static int ramp_restore(struct oxb_pe *pe, const void *data, size_t bytes, uint32_t version)
{
    if (bytes != sizeof(struct ramp) || version != 1) {
        return oxb_fail(pe, "bad position of %zu bytes", bytes);
    }
    memcpy(oxb_self(pe), data, bytes);
    return OXB_OK;
}
static const struct oxb_param ramp_params[] = {
    {"count", OXB_P_I64, OXB_REQUIRED, NULL, NULL, 0, 0, "how many"}, {0}};
static const struct oxb_port ramp_out[] = {{"out", "seq: i64", ""}, {0}};
static const struct oxb_pe_type ramp = {.abi = OXB_ABI, .flags = OXB_SOURCE | OXB_REPLAYABLE,
    .name = "ramp", .params = ramp_params, .outputs = ramp_out, .state_version = 1,
    .self_bytes = sizeof(struct ramp), .produce = ramp_produce, .snapshot = ramp_snapshot,
    .restore = ramp_restore};

static void source_goes_on_from_its_snapshot(void **state)
{
    (void)state;
    struct oxb_harness *h = open_harness(&ramp, "{\"count\":5}", NULL, NULL);
    assert_int_equal(oxb_harness_run(h, 1), OXB_OK);
    assert_string_equal(oxb_harness_output(h, 0), "{\"seq\":0}\n{\"seq\":1}\n{\"seq\":2}\n");
    void *data = NULL;
    size_t bytes = 0;
    assert_int_equal(oxb_harness_snapshot(h, &data, &bytes), OXB_OK);
    oxb_harness_free(h);
    h = open_harness(&ramp, "{\"count\":5}", NULL, NULL);
    assert_int_equal(oxb_harness_restore(h, data, bytes), OXB_OK);
    assert_int_equal(oxb_harness_run(h, 10), OXB_END);
    assert_string_equal(oxb_harness_output(h, 0), "{\"seq\":3}\n{\"seq\":4}\n");
    assert_int_equal(oxb_harness_restore(h, data, bytes), OXB_ERROR);
    free(data);
    oxb_harness_free(h);
}

static void missing_required_parameter_is_named(void **state)
{
    (void)state;
    char err[512] = "";
    assert_null(oxb_harness_new(&ramp, "{}", NULL, NULL, err, sizeof err));
    assert_non_null(strstr(err, "`count`"));
}

static void bad_restore_reports_the_text_of_the_pe(void **state)
{
    (void)state;
    struct oxb_harness *h = open_harness(&ramp, "{\"count\":5}", NULL, NULL);
    assert_int_equal(oxb_harness_restore(h, "x", 1), OXB_ERROR);
    assert_string_equal(oxb_harness_error(h), "bad position of 1 bytes");
    oxb_harness_free(h);
}

/* ---- timers: rows wait for a minute of skipped time ---- */
static int late_process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port;
    OXB_EACH (in, i) {
        *(int64_t *)oxb_self(pe) += oxb_i64s(in, 0)[i];
    }
    oxb_timer_set(pe, 7, oxb_mono_us(pe) + 60000000u);
    return OXB_OK;
}
static int late_timer(struct oxb_pe *pe, uint64_t id)
{
    struct oxb_writer *w = oxb_writer(pe, 0);
    oxb_put_i64(w, 0, oxb_row(w), *(int64_t *)oxb_self(pe) + (int64_t)id);
    oxb_commit(w);
    return OXB_OK;
}
static const struct oxb_port late_out[] = {{"out", "sum: i64", ""}, {0}};
static const struct oxb_pe_type late = {.abi = OXB_ABI, .name = "late", .flags = OXB_MANY,
    .outputs = late_out, .state_version = 1, .self_bytes = 8, .process = late_process,
    .timer = late_timer};

static void timers_fire_in_skipped_time(void **state)
{
    (void)state;
    struct oxb_harness *h = open_harness(&late, NULL, "n: i64", NULL);
    assert_int_equal(oxb_harness_feed(h, "{\"n\":1}\n{\"n\":2}"), OXB_OK);
    assert_string_equal(oxb_harness_output(h, 0), "");
    assert_int_equal(oxb_harness_run(h, 1), OXB_OK);
    assert_string_equal(oxb_harness_output(h, 0), "{\"sum\":10}\n");
    oxb_harness_free(h);
}

/* ---- timers of keys: a sum per key, given out a minute after its first tuple ---- */
enum { WINDOW_SUM, WINDOW_DUE };
static int window_process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port;
    const unsigned by[] = {0};
    void *slots[1024];
    unsigned k = 0;
    struct oxb_state *s = oxb_state(pe, "windows");
    if (oxb_state_rows(s, in, by, 1, slots) != OXB_OK) {
        return OXB_ERROR;
    }
    OXB_EACH (in, i) {
        int64_t *cells = slots[k++];
        cells[WINDOW_SUM] += oxb_i64s(in, 1)[i];
        if (cells[WINDOW_DUE] == 0) {
            oxb_key_timer_set(s, cells, WINDOW_DUE, oxb_now_us(pe) + 60000000);
        }
    }
    return OXB_OK;
}
static int window_due(struct oxb_pe *pe, struct oxb_state *s, struct oxb_key key, unsigned cell)
{
    struct oxb_writer *w = oxb_writer(pe, 0);
    const int64_t *cells = oxb_state_get(s, key);
    uint32_t row = oxb_row(w);
    assert_int_equal(cell, WINDOW_DUE);
    assert_int_equal(cells[WINDOW_DUE], 0);
    oxb_put_key(w, oxb_out_schema(pe, 0), 0, 1, row, key);
    oxb_put_i64(w, 1, row, cells[WINDOW_SUM]);
    oxb_commit(w);
    oxb_state_delete(s, key);
    return OXB_OK;
}
static const struct oxb_value window_values[] = {{"sum", OXB_I64}, {"due", OXB_TIME}, {0}};
static const struct oxb_state_decl window_states[] = {{"windows", window_values}, {0}};
static const struct oxb_port window_out[] = {{"out", "k: str, sum: i64", ""}, {0}};
static const struct oxb_pe_type window = {.abi = OXB_ABI, .name = "window", .flags = OXB_MANY,
    .outputs = window_out, .states = window_states, .state_version = 1,
    .process = window_process, .key_timer = window_due};

static void timers_of_keys_fire_in_skipped_time(void **state)
{
    (void)state;
    struct oxb_harness *h = open_harness(&window, NULL, "k: str, n: i64", NULL);
    assert_int_equal(oxb_harness_feed(h, "{\"k\":\"a\",\"n\":1}\n{\"k\":\"b\",\"n\":5}"), OXB_OK);
    assert_int_equal(oxb_harness_feed(h, "{\"k\":\"a\",\"n\":2}"), OXB_OK);
    assert_string_equal(oxb_harness_output(h, 0), "");
    assert_int_equal(oxb_harness_run(h, 2), OXB_OK);
    const char *out = oxb_harness_output(h, 0);
    assert_non_null(strstr(out, "{\"k\":\"a\",\"sum\":3}\n"));
    assert_non_null(strstr(out, "{\"k\":\"b\",\"sum\":5}\n"));
    assert_int_equal(strlen(out), 2 * strlen("{\"k\":\"a\",\"sum\":3}\n"));
    oxb_harness_free(h);
}

static void a_key_timer_wants_a_cell_for_it(void **state)
{
    (void)state;
    char err[512] = "";
    struct oxb_pe_type none = window;
    none.states = NULL;
    assert_null(oxb_harness_new(&none, NULL, "k: str, n: i64", NULL, err, sizeof err));
    assert_non_null(strstr(err, "no state with a cell of type time"));
}

/* ---- schema expressions of ports ---- */
static int pass(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port;
    struct oxb_batch *out = oxb_derive(pe, 0, in);
    oxb_forward(pe, 0, out);
    return OXB_OK;
}
static const struct oxb_port by_out[] = {{"out", "$by, ?more(extra: i64), copy: $field", ""}, {0}};
static const struct oxb_pe_type by = {.abi = OXB_ABI, .name = "by", .outputs = by_out,
    .state_version = 1, .process = pass};

static void derived_batch_with_an_unset_field_is_an_error(void **state)
{
    (void)state;
    struct oxb_harness *h = open_harness(
        &by, "{\"by\":[\"b\",\"a\"],\"field\":\"a\",\"more\":1}", "a: i64, b: str", NULL);
    assert_int_equal(oxb_harness_feed(h, "{\"a\":1,\"b\":\"x\"}"), OXB_ERROR);
    assert_non_null(strstr(oxb_harness_error(h), "`extra`"));
    oxb_harness_free(h);
}

static const struct oxb_port b_only[] = {{"out", "$by", ""}, {0}};
static const struct oxb_port a_in[] = {{"in", "a: i64", ""}, {0}};
static const struct oxb_pe_type project = {.abi = OXB_ABI, .name = "project", .inputs = a_in,
    .outputs = b_only, .state_version = 1, .process = pass};

static void projection_keeps_the_named_fields(void **state)
{
    (void)state;
    struct oxb_harness *h =
        open_harness(&project, "{\"by\":\"b\"}", "a: i64, b: str", NULL);
    assert_int_equal(oxb_harness_feed(h, "{\"a\":1,\"b\":\"x\"}"), OXB_OK);
    assert_string_equal(oxb_harness_output(h, 0), "{\"b\":\"x\"}\n");
    oxb_harness_free(h);
    char err[512];
    assert_null(oxb_harness_new(&project, "{\"by\":\"b\"}", "a: f64, b: str", NULL, err,
                                sizeof err));
    assert_non_null(strstr(err, "`a: i64`"));
    assert_null(oxb_harness_new(&project, "{\"by\":\"c\"}", "a: i64, b: str", NULL, err,
                                sizeof err));
    assert_non_null(strstr(err, "`c`"));
}

static void bad_json_is_refused_with_its_place(void **state)
{
    (void)state;
    struct oxb_harness *h = open_harness(&even, NULL, "n: i64", NULL);
    assert_int_equal(oxb_harness_feed(h, "{\"n\":1.5}"), OXB_ERROR);
    assert_non_null(strstr(oxb_harness_error(h), "field `n`"));
    oxb_harness_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filter_passes_what_matches),
        cmocka_unit_test(map_adds_a_column_with_the_default_parameter),
        cmocka_unit_test(flat_map_writes_rows_of_its_own),
        cmocka_unit_test(source_goes_on_from_its_snapshot),
        cmocka_unit_test(missing_required_parameter_is_named),
        cmocka_unit_test(bad_restore_reports_the_text_of_the_pe),
        cmocka_unit_test(timers_fire_in_skipped_time),
        cmocka_unit_test(timers_of_keys_fire_in_skipped_time),
        cmocka_unit_test(a_key_timer_wants_a_cell_for_it),
        cmocka_unit_test(derived_batch_with_an_unset_field_is_an_error),
        cmocka_unit_test(projection_keeps_the_named_fields),
        cmocka_unit_test(bad_json_is_refused_with_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
