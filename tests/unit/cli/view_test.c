/* tests/unit/cli/view_test.c - documents of the master become the right tables and totals.
 *
 * Goal:   sources and sinks are found from the streams; states of instances are summed up.
 * Method: documents as docs/API.md has them, written out here. */
#include "cli/cluster.h"
#include "cli/describe.h"
#include "cli/progress.h"
#include "cli/submit.h"
#include "cli/templates.h"
#include "cli/view.h"
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char document[] =
    "{\"name\": \"access\", \"version\": 2, \"state\": \"running\", \"created_at\": \"T\","
    " \"error\": null, \"pes\": ["
    "{\"name\": \"lines\", \"use\": \"file-source\", \"parallelism\": 1, \"tuples_in\": 0,"
    " \"tuples_out\": 1500, \"rate_in\": 0.0, \"rate_out\": 2500.0, \"busy\": 0.95,"
    " \"blocked\": 0.0, \"errors\": 0, \"instances\": [{\"worker\": \"w1\", \"state\": "
    "\"ended\"}]},"
    "{\"name\": \"parse\", \"use\": \"./parse.so\", \"parallelism\": 2, \"tuples_in\": 1500,"
    " \"tuples_out\": 1400, \"rate_in\": 2500.0, \"rate_out\": 2400.0, \"busy\": 0.5,"
    " \"blocked\": 0.1, \"errors\": 1, \"latency_us\": {\"p50\": 1, \"p99\": 40, \"max\": 90},"
    " \"instances\": [{\"worker\": \"w1\", \"state\": \"ended\"},"
    " {\"worker\": \"w2\", \"state\": \"running\"}]},"
    "{\"name\": \"hits\", \"use\": \"file-sink\", \"parallelism\": 1, \"tuples_in\": 1400,"
    " \"tuples_out\": 0, \"rate_in\": 2400.0, \"rate_out\": 0.0, \"busy\": 0.1, \"blocked\": 0.0,"
    " \"errors\": 0, \"instances\": [{\"worker\": \"w1\", \"state\": \"running\"}]},"
    "{\"name\": \"rejects\", \"use\": \"null-sink\", \"parallelism\": 1, \"tuples_in\": 100,"
    " \"tuples_out\": 0, \"rate_in\": 1.0, \"rate_out\": 0.0, \"busy\": 0.1, \"blocked\": 0.0,"
    " \"errors\": 0, \"instances\": []}],"
    " \"streams\": [{\"name\": \"lines->parse\", \"from\": \"lines\", \"to\": \"parse\","
    " \"partitioning\": \"balanced\", \"fused\": true, \"tuples\": 1500, \"rate\": 1.0,"
    " \"depth\": 0, \"gaps\": 0, \"repeats\": 0, \"reordered\": 0, \"channels\": 2},"
    " {\"name\": \"parse->hits\", \"from\": \"parse\", \"to\": \"hits\","
    " \"partitioning\": \"balanced\", \"tuples\": 1400},"
    " {\"name\": \"bad\", \"from\": \"parse.errors\", \"to\": \"rejects\","
    " \"partitioning\": \"balanced\", \"tuples\": 100}]}";

static json_t *load(const char *json)
{
    json_t *value = json_loads(json, 0, NULL);
    assert_non_null(value);
    return value;
}

static void totals_count_sources_and_sinks_only(void **state)
{
    (void)state;
    json_t *topology = load(document);
    struct view_totals totals = view_totals_of(topology);
    assert_int_equal(totals.in, 1500);
    assert_int_equal(totals.out, 1500);
    assert_true(totals.rate_in > 2499 && totals.rate_in < 2501);
    char *line = progress_line(topology, 1500000);
    assert_string_equal(line, "access: running 1.5 s, 1,500 in (2.5k/s), 1,500 out");
    mem_free(line);
    json_decref(topology);
}

static void a_topology_is_shown_with_pes_and_streams(void **state)
{
    (void)state;
    json_t *topology = load(document);
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    view_topology(topology, out, false);
    fclose(out);
    assert_non_null(strstr(text, "access version 2  running  created T\n"));
    assert_non_null(
        strstr(text, "parse    ./parse.so      2  w1,w2    running  1,500  1,400  2.5k"));
    assert_non_null(strstr(text, "balanced, fused"));
    assert_null(strstr(text, "\033"));
    free(text);
    json_decref(topology);
}

static void documents_with_other_members_do_no_harm(void **state)
{
    (void)state;
    json_t *odd = load("{\"pes\": [1, {\"name\": 3, \"instances\": {}}], \"streams\": \"x\"}");
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    view_topology(odd, out, true);
    view_topologies(odd, out, true);
    view_workers(odd, out, true);
    fclose(out);
    free(text);
    json_decref(odd);
}

static void a_state_is_matched_as_a_whole_word(void **state)
{
    (void)state;
    assert_true(state_is_one_of("failed", "finished stopped failed"));
    assert_true(state_is_one_of("finished", "finished stopped failed"));
    assert_false(state_is_one_of("stop", "finished stopped failed"));
    assert_false(state_is_one_of("", "finished stopped failed"));
}

static void a_ready_line_gives_its_values(void **state)
{
    (void)state;
    const char *line = "ready oxbow-master control=127.0.0.1:1234 http=127.0.0.1:99\n";
    char *control = cluster_ready_value(line, "control");
    char *http = cluster_ready_value(line, "http");
    assert_string_equal(control, "127.0.0.1:1234");
    assert_string_equal(http, "127.0.0.1:99");
    assert_null(cluster_ready_value(line, "tls"));
    mem_free(control);
    mem_free(http);
}

static void a_description_is_printed_with_parameters_and_ports(void **state)
{
    (void)state;
    json_t *type =
        load("{\"name\": \"count\", \"doc\": \"counts\", \"source\": false, \"params\": ["
             "{\"name\": \"by\", \"type\": \"fields\", \"required\": true, \"default\": null,"
             " \"doc\": \"the key\"},"
             "{\"name\": \"emit\", \"type\": \"enum\", \"required\": false, \"default\": \"each\","
             " \"choices\": [\"each\", \"final\"], \"doc\": \"when\"}],"
             " \"inputs\": [{\"name\": \"in\", \"schema\": null, \"doc\": \"\"}],"
             " \"outputs\": [{\"name\": \"out\", \"schema\": \"$by, count: i64\", \"doc\": \"\"}],"
             " \"states\": [{\"name\": \"counts\", \"values\": []}]}");
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    describe_text(type, out, false);
    describe_markdown(type, out);
    fclose(out);
    assert_non_null(strstr(text, "count (transform): counts\nkeeps keyed state\n"));
    assert_non_null(strstr(text, "emit       each or final  each      when\n"));
    assert_non_null(strstr(text, "| by | fields | required | the key |\n"));
    assert_non_null(strstr(text, "| output | out | $by, count: i64 |  |\n"));
    free(text);
    json_decref(type);
}

static void templates_have_no_mark_left(void **state)
{
    (void)state;
    static const char *const templates[] = {template_pe_c, template_pe_test, template_pe_yaml,
                                            template_pe_make, template_topology_yaml};
    for (size_t i = 0; i < sizeof templates / sizeof templates[0]; i++) {
        char *text = template_fill(templates[i], "my-pe", "/sdk");
        assert_null(strstr(text, "@NAME@"));
        assert_null(strstr(text, "@SDK@"));
        mem_free(text);
    }
    char *text = template_fill("a @NAME@ b @SDK@ @", "n", "s");
    assert_string_equal(text, "a n b s @");
    mem_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(totals_count_sources_and_sinks_only),
        cmocka_unit_test(a_topology_is_shown_with_pes_and_streams),
        cmocka_unit_test(documents_with_other_members_do_no_harm),
        cmocka_unit_test(a_state_is_matched_as_a_whole_word),
        cmocka_unit_test(a_ready_line_gives_its_values),
        cmocka_unit_test(a_description_is_printed_with_parameters_and_ports),
        cmocka_unit_test(templates_have_no_mark_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
