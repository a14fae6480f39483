/* bench/infer_pe_alone.c - the PE `infer` without a worker, a tuple at a time. */
#include "bench/infer_pe_alone.h"

#include "bench/lone_host.h"
#include "core/mem.h"
#include "pe/builtin/builtin.h"

#include <stdio.h>
#include <stdlib.h>

#define POOL_BYTES (16u << 20)

struct pe_alone {
    struct pool *pool;
    struct pe_host host;
    struct oxb_pe *pe;
    struct batch *one; /* of one tuple, shared with every run */
    size_t came_out;   /* tuples */
};

static void on_emit(void *ctx, unsigned port, struct batch *batch)
{
    struct pe_alone *a = ctx;
    (void)port;
    a->came_out += batch->pub.live;
    batch_free(batch);
}

static void make_tuple(struct pe_alone *a, const struct oxb_schema *schema, size_t elements)
{
    struct builder rows;
    builder_init(&rows, a->pool, schema, NULL, NULL);
    uint32_t row = oxb_row(&rows.pub);
    float *x = oxb_put_f32(&rows.pub, 0, row, (uint32_t)elements);
    for (size_t i = 0; i < elements; i++) {
        x[i] = (float)(i % 7) * 0.1f;
    }
    oxb_commit(&rows.pub);
    a->one = builder_finish(&rows);
    builder_fini(&rows);
}

enum err pe_alone_open(const char *model, const char *dir, size_t elements, size_t outputs,
                       struct pe_alone **out, struct fail *f)
{
    char text[64];
    const struct oxb_schema *in = NULL, *result = NULL;
    struct pe_alone *a = mem_alloc(sizeof *a);
    a->host = lone_host(a, on_emit);
    a->pool = pool_new(POOL_BYTES);
    snprintf(text, sizeof text, "p: f32[%zu]", elements);
    enum err e = schema_parse(text, &in, f);
    snprintf(text, sizeof text, "p: f32[%zu], y: f32[%zu]", elements, outputs);
    if (e == ERR_OK) {
        e = schema_parse(text, &result, f);
    }
    char *params =
        mem_printf("{\"model\": \"%s\", \"device\": \"cpu\", \"batch\": {\"max\": 32}}", model);
    if (e == ERR_OK) {
        struct pe_port_spec from = {"in", in, true}, to = {"out", result, true};
        struct pe_spec spec = {.type = &builtin_infer,
                               .name = "net",
                               .params = params,
                               .base_dir = "/",
                               .data_dir = dir,
                               .parallelism = 1,
                               .inputs = &from,
                               .input_count = 1,
                               .outputs = &to,
                               .output_count = 1};
        a->pe = pe_new(&spec, &a->host, a->pool);
        make_tuple(a, in, elements);
        e = pe_prepare(a->pe, f);
    }
    if (e == ERR_OK) {
        e = pe_start(a->pe, f);
    }
    mem_free(params);
    if (e != ERR_OK) {
        pe_alone_close(a);
        return e;
    }
    *out = a;
    return ERR_OK;
}

void pe_alone_close(struct pe_alone *a)
{
    if (a->one != NULL) {
        batch_free(a->one);
    }
    if (a->pe != NULL) {
        pe_stop(a->pe);
        pe_free(a->pe);
    }
    pool_free(a->pool);
    mem_free(a);
}

void pe_alone_run(void *arg)
{
    struct pe_alone *a = arg;
    size_t before = a->came_out;
    if (pe_process(a->pe, 0, batch_share(a->one)) != OXB_OK || pe_flush_sink(a->pe) != OXB_OK ||
        a->came_out != before + 1) {
        fprintf(stderr, "infer_bench: the PE gave nothing: %s\n", pe_error(a->pe));
        exit(1);
    }
}
