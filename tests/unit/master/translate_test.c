/* tests/unit/master/translate_test.c - model to messages and back.
 *
 * Goal:   what a worker decodes is what was planned for it, all of it and nothing else; hostile
 *         reports change nothing they should not.
 * Method: a real topology placed on two workers; PREPARE through the codec and back; the parts are
 *         put together again and compared with the graph. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/hist.h"
#include "core/mem.h"
#include "master/translate.h"
#include "net/frame.h"
#include "pe/registry.h"

#include <stdio.h>
#include <string.h>

static const char yaml[] = "oxbow: 1\n"
                           "topology: t\n"
                           "fusion: off\n"
                           "pes:\n"
                           "  src: {use: sequence, with: {count: 100, keys: 4}}\n"
                           "  sum: {use: count, with: {by: key}, parallelism: 3}\n"
                           "  end: {use: null-sink}\n"
                           "streams:\n"
                           "  - {from: src, to: sum, by: key}\n"
                           "  - {from: sum, to: end}\n";

/* every instance of `sum` to every instance of `top` */
static const char wide_yaml[] = "oxbow: 1\n"
                                "topology: t\n"
                                "fusion: off\n"
                                "pes:\n"
                                "  src: {use: sequence, with: {count: 100, keys: 4}}\n"
                                "  sum: {use: count, with: {by: key}, parallelism: %u}\n"
                                "  top: {use: count, with: {by: count}, parallelism: %u}\n"
                                "  end: {use: null-sink}\n"
                                "streams:\n"
                                "  - {from: src, to: sum, by: key}\n"
                                "  - {from: sum, to: top, by: count}\n"
                                "  - {from: top, to: end}\n";

static struct members ms;
static struct deployment *d;

static void make(const char *text, uint32_t slots)
{
    struct fail f = {0};
    struct diags diags = {0};
    struct worker_info workers[2];
    uint64_t next = 1, lost;
    ms = (struct members){0};
    for (uint64_t i = 0; i < 2; i++) {
        struct member_hello h = {.name = i == 0 ? "w1" : "w2", .address = "127.0.0.1:9",
                                 .host = "h", .version = "", .protocol = 1,
                                 .incarnation = 50 + i, .slots = slots};
        struct member *w = members_join(&ms, &h, 5 + i, &ms, 1, &lost);
        translate_worker(w, 0, &workers[i]);
    }
    d = mem_alloc(sizeof *d);
    d->name = mem_dup("t");
    d->base_dir = mem_dup("/base");
    d->token = (struct change_token){3, 4, 5, 6};
    d->catalog = catalog_new();
    char *builtins = describe_builtins();
    assert_int_equal(catalog_add(d->catalog, builtins, NULL, NULL, &f), ERR_OK);
    mem_free(builtins);
    d->topology = topology_parse(text, strlen(text), "/base", d->catalog, &diags);
    assert_non_null(d->topology);
    diags_fini(&diags);
    d->graph = physical_expand(d->topology, workers, 2, &placer_default, &next, &f);
    assert_non_null(d->graph);
    deployment_init_views(d);
    for (uint32_t i = 0; i < d->graph->worker_count; i++) {
        d->parts[i].worker_id = d->graph->workers[i].id;
        d->parts[i].incarnation = 45 + d->parts[i].worker_id;
    }
}

static void unmake(void)
{
    deployment_free(d);
    members_fini(&ms);
}

static void check_instances(const struct msg_PREPARE *p, uint32_t part, unsigned *met)
{
    for (size_t i = 0; i < p->add_instances_count; i++) {
        const struct rec_INSTANCE_SPEC *n = &p->add_instances[i];
        const struct instance_view *v = deployment_instance(d, n->id);
        assert_non_null(v);
        const struct pinstance *g = &d->graph->instances[v->number];
        const struct pe *pe = &d->topology->pes[g->pe];
        assert_int_equal(g->worker, part);
        assert_string_equal(n->pe, pe->name);
        assert_string_equal(n->type, pe->use);
        assert_string_equal(n->artifact, "");
        assert_string_equal(n->digest, pe->digest);
        assert_int_equal(n->index, g->index);
        assert_int_equal(n->parallelism, pe->parallelism);
        assert_int_equal(n->inputs_count, pe->input_count);
        assert_int_equal(n->outputs_count, pe->output_count);
        json_t *params = json_loads(n->params, 0, NULL);
        assert_true(json_equal(params, pe->with));
        json_decref(params);
        (*met)++;
    }
}

static void check_channels(const struct msg_PREPARE *p, uint32_t part)
{
    size_t mine = 0;
    for (uint32_t i = 0; i < d->graph->channel_count; i++) {
        const struct pchannel *c = &d->graph->channels[i];
        mine += d->graph->instances[c->from].worker == part ||
                d->graph->instances[c->to].worker == part;
    }
    assert_int_equal(p->add_channels_count, mine);
    for (size_t i = 0; i < p->add_channels_count; i++) {
        const struct rec_CHANNEL_SPEC *c = &p->add_channels[i];
        bool found = false;
        for (size_t k = 0; k < p->streams_count; k++) {
            found = found || p->streams[k].id == c->stream;
        }
        assert_true(found);
        assert_non_null(deployment_instance(d, c->from));
        assert_non_null(deployment_instance(d, c->to));
    }
}

static void check_owners(const struct msg_PREPARE *p)
{
    for (size_t k = 0; k < p->streams_count; k++) {
        const struct rec_STREAM_SPEC *s = &p->streams[k];
        if (s->partitioning != PART_KEYED) {
            assert_int_equal(s->owners.bytes, 0);
            continue;
        }
        assert_int_equal(s->keys.bytes, 4);
        assert_int_equal(s->owners.bytes, 2 * KEY_GROUPS);
        for (unsigned g = 0; g < KEY_GROUPS; g++) {
            unsigned owner = s->owners.data[2 * g] | (unsigned)s->owners.data[2 * g + 1] << 8;
            assert_int_equal(owner, physical_owner(g, 3));
        }
    }
}

static void the_prepares_together_are_the_graph(void **state)
{
    (void)state;
    unsigned met = 0;
    make(yaml, 64);
    for (uint32_t part = 0; part < d->graph->worker_count; part++) {
        struct msg out, in = {0};
        struct fail f = {0};
        struct strbuf frame = {0};
        assert_int_equal(translate_prepare(d, &ms, part, &out, &f), ERR_OK);
        assert_int_equal(msg_encode(&out, &frame), ERR_OK);
        translate_prepare_fini(&out);
        assert_int_equal(msg_decode(M_PREPARE, frame.data + FRAME_HEAD_BYTES,
                                    frame.bytes - FRAME_HEAD_BYTES, &in, &f),
                         ERR_OK);
        assert_int_equal(in.PREPARE.term, 3);
        assert_int_equal(in.PREPARE.gen, 4);
        assert_int_equal(in.PREPARE.op, 5);
        assert_int_equal(in.PREPARE.epoch, 6);
        assert_int_equal(in.PREPARE.workers_count, 2);
        assert_string_equal(in.PREPARE.workers[0].address, "127.0.0.1:9");
        check_instances(&in.PREPARE, part, &met);
        check_channels(&in.PREPARE, part);
        check_owners(&in.PREPARE);
        msg_free(&in);
        strbuf_fini(&frame);
    }
    assert_int_equal(met, d->graph->instance_count);
    unmake();
}

static void a_wide_shuffle_is_told_whole(void **state)
{
    (void)state;
    char text[1024];
    struct msg out, in;
    struct fail f = {0};
    struct strbuf frame = {0};
    snprintf(text, sizeof text, wide_yaml, 256u, 256u);
    make(text, 2000);
    assert_int_equal(translate_prepare(d, &ms, 0, &out, &f), ERR_OK);
    size_t channels = out.PREPARE.add_channels_count;
    assert_true(channels > 128u * 256u);
    assert_int_equal(msg_encode(&out, &frame), ERR_LIMIT); /* it needs fragments */
    assert_int_equal(msg_encode_large(&out, &frame), ERR_OK);
    translate_prepare_fini(&out);
    assert_int_equal(msg_decode_large(M_PREPARE, frame.data + FRAME_HEAD_BYTES,
                                      frame.bytes - FRAME_HEAD_BYTES, &in, &f),
                     ERR_OK);
    assert_int_equal(in.PREPARE.add_channels_count, channels);
    check_channels(&in.PREPARE, 0);
    msg_free(&in);
    strbuf_fini(&frame);
    unmake();
}

static void a_plan_too_large_to_send_is_refused_beforehand(void **state)
{
    (void)state;
    char text[1024];
    struct msg out;
    struct fail f = {0};
    snprintf(text, sizeof text,
             "oxbow: 1\ntopology: t\nfusion: off\npes:\n"
             "  src: {use: sequence, with: {count: 1}, parallelism: 510}\n"
             "  mid: {use: filter, with: {field: seq, ge: 0}, parallelism: 511}\n"
             "  end: {use: null-sink}\n"
             "streams:\n  - {from: src, to: mid}\n  - {from: mid, to: end}\n");
    make(text, 2000);
    for (uint32_t i = 0; i < d->graph->worker_count; i++) { /* the longest names there may be */
        memset(d->graph->workers[i].name, 'w', NAME_BYTES_MAX);
    }
    assert_int_equal(translate_prepare(d, &ms, 0, &out, &f), ERR_LIMIT);
    assert_non_null(strstr(f.what, "too large"));
    assert_true(f.hint[0] != '\0');
    unmake();
}

static void hostile_reports_change_only_what_is_theirs(void **state)
{
    (void)state;
    const struct instance_view *failed;
    make(yaml, 64);
    uint64_t other = 0;
    for (uint32_t i = 0; i < d->graph->instance_count; i++) {
        if (d->graph->instances[i].worker != 0) {
            other = d->graph->instances[i].id;
        }
    }
    static const uint8_t junk[] = {1, 2, 3};
    struct rec_INSTANCE_STATUS instances[] = {
        {.id = UINT64_MAX, .state = INSTANCE_FAILED, .error = "", .metrics = ""},
        {.id = d->graph->instances[0].id, .state = 77, .error = "", .metrics = ""},
        {.id = other, .state = INSTANCE_FAILED, .error = "", .metrics = ""},
    };
    struct rec_CHANNEL_STATUS channels[] = {{.id = UINT64_MAX, .sent = 5}};
    const struct msg_REPORT report = {.state = 99,
                                      .instances = instances,
                                      .instances_count = 3,
                                      .channels = channels,
                                      .channels_count = 1,
                                      .latency = {junk, sizeof junk}};
    translate_report(d, &d->parts[0], &report, &failed);
    assert_null(failed);
    assert_int_equal(d->parts[0].state, 0);
    assert_int_equal(d->parts[0].latency.bytes, 0);
    for (uint32_t i = 0; i < d->graph->instance_count; i++) {
        assert_int_equal(d->instances[i].state, 0);
    }
    unmake();
}

static void a_hello_is_completed_or_refused(void **state)
{
    (void)state;
    struct member_hello h;
    struct fail f = {0};
    struct rec_LABEL labels[] = {{"zone", "a"}};
    struct msg_HELLO m = {.protocol = 9, .name = "w1", .incarnation = 1, .address = ":77",
                          .host = "", .types = "", .version = "", .labels = labels,
                          .labels_count = 1};
    assert_int_equal(translate_hello(&m, "10.0.0.1", &h, &f), ERR_OK);
    assert_string_equal(h.address, "10.0.0.1:77");
    assert_int_equal(h.protocol, PROTOCOL_VERSION);
    assert_string_equal(json_string_value(json_object_get(h.labels, "zone")), "a");
    translate_hello_fini(&h);
    assert_int_equal(translate_hello(&m, "::1", &h, &f), ERR_OK);
    assert_string_equal(h.address, "[::1]:77");
    translate_hello_fini(&h);
    m.types = "{not json";
    assert_int_equal(translate_hello(&m, "::1", &h, &f), ERR_INVALID);
    m.types = "";
    m.labels_count = 1000;
    assert_int_equal(translate_hello(&m, "::1", &h, &f), ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_prepares_together_are_the_graph),
        cmocka_unit_test(a_wide_shuffle_is_told_whole),
        cmocka_unit_test(a_plan_too_large_to_send_is_refused_beforehand),
        cmocka_unit_test(hostile_reports_change_only_what_is_theirs),
        cmocka_unit_test(a_hello_is_completed_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
