/* bench/infer_bench.c - models on the engine's kernels beside onnxruntime and OpenBLAS.
 *
 * Method: both in one process on one thread, in alternating rounds; a round's figure is the
 * shortest call in it, since on a shared machine everything longer is somebody else's work; the
 *         table has the median over the rounds, and the ratio peer / engine (above 1: the engine
 *         is quicker).  The engine's figure includes copying the input in; the peer reads it in
 *         place.  Results are compared: a difference beyond 1e-3 is an error.
 * Run:    infer_bench [-r ROUNDS] [-m MS] [ROW]...   rows: gemm mlp cnn gru lstm transformer pair
 *         OXBOW_ORT names onnxruntime's library, OPENBLAS_CORETYPE OpenBLAS's kernels. */
#include "bench/infer_models.h"
#include "bench/ort.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/prng.h"
#include "pe/infer/backend.h"
#include "pe/infer/compiled.h"
#include "pe/infer/model.h"
#include "pe/infer/session.h"

#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS_MAX 99

struct options {
    int rounds;
    uint64_t round_ns;
    char **rows;
    int row_count;
    char dir[64];
    struct ort *ort;
    char ort_why[240];
};

static _Noreturn void give_up(const char *what, const struct fail *f)
{
    fprintf(stderr, "infer_bench: %s: %s\n", what, f != NULL ? f->what : "");
    exit(1);
}

/* ---- measuring */

struct runner {
    void (*run)(void *arg);
    void *arg;
};

static double shortest_us(const struct runner *r, uint64_t for_ns)
{
    uint64_t start = clock_now_ns(), best = UINT64_MAX, now;
    do {
        uint64_t before = clock_now_ns();
        r->run(r->arg);
        now = clock_now_ns();
        best = now - before < best ? now - before : best;
    } while (now - start < for_ns);
    return (double)best / 1e3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void compare(const struct options *o, const char *name, const struct runner *ours,
                    const struct runner *peer, const char *peer_why, double flops)
{
    double mine[ROUNDS_MAX], theirs[ROUNDS_MAX], ratio[ROUNDS_MAX];
    for (int i = 0; i < o->rounds; i++) {
        mine[i] = shortest_us(ours, o->round_ns);
        theirs[i] = peer != NULL ? shortest_us(peer, o->round_ns) : 0;
        ratio[i] = theirs[i] / mine[i];
    }
    size_t n = (size_t)o->rounds;
    qsort(mine, n, sizeof(double), by_value);
    qsort(theirs, n, sizeof(double), by_value);
    qsort(ratio, n, sizeof(double), by_value);
    char rate[32] = "";
    if (flops > 0) {
        snprintf(rate, sizeof(rate), "%7.1f GFLOP/s", flops / mine[n / 2] / 1e3);
    }
    if (peer == NULL) {
        printf("%-20s %10.1f us %15s  %s\n", name, mine[n / 2], rate, peer_why);
    } else {
        printf("%-20s %10.1f us %15s %10.1f us   %5.2f [%.2f, %.2f]\n", name, mine[n / 2], rate,
               theirs[n / 2], ratio[n / 2], ratio[0], ratio[n - 1]);
    }
    fflush(stdout);
}

static bool is_wanted(const struct options *o, const char *row)
{
    for (int i = 0; i < o->row_count; i++) {
        if (strcmp(o->rows[i], row) == 0) {
            return true;
        }
    }
    return o->row_count == 0;
}

/* ---- a model on the engine, and on the peer */

struct engine {
    struct session *session;
    struct compiled *compiled;
    int64_t rows;
    const float *in;
    size_t in_bytes;
    const float *out; /* after a run */
};

static void engine_run(void *arg)
{
    struct engine *e = arg;
    struct fail f = {0};
    void *p = NULL;
    const void *q = NULL;
    enum err err = compiled_input(e->compiled, 0, 0, &p, &f);
    if (err == ERR_OK) {
        memcpy(p, e->in, e->in_bytes);
        err = compiled_input_done(e->compiled, 0, 0, p, &f);
    }
    if (err == ERR_OK) {
        err = compiled_run(e->compiled, 0, e->rows, &f);
    }
    if (err == ERR_OK) {
        err = compiled_output(e->compiled, 0, 0, &q, &f);
    }
    if (err == ERR_OK) {
        e->out = q;
        err = compiled_output_done(e->compiled, 0, 0, q, &f);
    }
    if (err != ERR_OK) {
        give_up("engine", &f);
    }
}

static void ort_runner(void *arg)
{
    ort_run(arg);
}

struct contest {
    const struct bench_model *model;
    int64_t batch;
    float *in, *out; /* out: the peer's */
    size_t in_count, out_count;
    int64_t in_dims[5], out_dims[5];
    struct engine engine;
    struct ort_session *peer; /* NULL: none */
};

static size_t dims_of(int64_t *to, const int64_t *row, unsigned rank, int64_t batch)
{
    size_t count = (size_t)batch;
    to[0] = batch;
    for (unsigned i = 0; i < rank; i++) {
        to[i + 1] = row[i];
        count *= (size_t)row[i];
    }
    return count;
}

static void check(const struct contest *c)
{
    double worst = 0;
    for (size_t i = 0; i < c->out_count; i++) {
        double d = fabs((double)c->engine.out[i] - (double)c->out[i]);
        worst = d > worst || isnan(d) ? d : worst;
    }
    if (!(worst < 1e-3)) {
        fprintf(stderr, "infer_bench: %s at batch %lld: results differ by %g\n", c->model->name,
                (long long)c->batch, worst);
        exit(1);
    }
}

static void contest_open(struct contest *c, const struct options *o, const char *path)
{
    const struct bench_model *m = c->model;
    struct fail f = {0};
    c->in_count = dims_of(c->in_dims, m->in, m->in_rank, c->batch);
    c->out_count = dims_of(c->out_dims, m->out, m->out_rank, c->batch);
    c->in = mem_array(c->in_count, sizeof(float));
    c->out = mem_array(c->out_count, sizeof(float));
    struct prng p = {5};
    for (size_t i = 0; i < c->in_count; i++) {
        c->in[i] = (float)prng_below(&p, 1000) * 0.002f - 1.0f;
    }
    struct graph *g = NULL;
    if (model_open(path, &g, &f) != ERR_OK) {
        give_up(m->name, &f);
    }
    struct shape row = {.rank = m->in_rank};
    memcpy(row.dims, m->in, m->in_rank * sizeof(int64_t));
    struct session_options so = {
        .device = "cpu", .batch_max = c->batch, .cache_dir = o->dir, .rows = &row};
    c->engine =
        (struct engine){.rows = c->batch, .in = c->in, .in_bytes = c->in_count * sizeof(float)};
    if (session_new(g, &so, &c->engine.session, &f) != ERR_OK) {
        give_up(m->name, &f);
    }
    c->engine.compiled = session_pick(c->engine.session, c->batch);
    engine_run(&c->engine);
    if (o->ort != NULL) {
        char why[240] = "";
        struct ort_io in = {c->in, c->in_count, c->in_dims, m->in_rank + 1};
        struct ort_io out = {c->out, c->out_count, c->out_dims, m->out_rank + 1};
        c->peer = ort_open(o->ort, path, 1, in, out, why);
        if (c->peer == NULL) {
            fprintf(stderr, "infer_bench: onnxruntime refuses %s: %s\n", m->name, why);
            exit(1);
        }
        ort_run(c->peer);
        check(c);
    }
}

static void contest_close(struct contest *c)
{
    session_free(c->engine.session);
    mem_free(c->in);
    mem_free(c->out);
}

static void row_model(const struct options *o, const struct bench_model *m, const char *path)
{
    static const int64_t batches[] = {1, 32, 256};
    for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
        struct contest c = {.model = m, .batch = batches[i]};
        contest_open(&c, o, path);
        char name[64];
        unsigned on_device = 0;
        unsigned steps = compiled_step_count(c.engine.compiled, &on_device);
        snprintf(name, sizeof(name), "%s b%lld (%u/%u)", m->name, (long long)c.batch, on_device,
                 steps);
        struct runner ours = {engine_run, &c.engine}, peer = {ort_runner, c.peer};
        compare(o, name, &ours, c.peer != NULL ? &peer : NULL, o->ort_why, 0);
        contest_close(&c);
    }
}

/* ---- two replicas beside two sessions, a thread each */

struct lane {
    struct runner runner;
    uint64_t until_ns;
    uint64_t calls;
};

static void *lane_main(void *arg)
{
    struct lane *l = arg;
    while (clock_now_ns() < l->until_ns) {
        l->runner.run(l->runner.arg);
        l->calls++;
    }
    return NULL;
}

/* Calls per second of both together. */
static double pair_rate(const struct runner *a, const struct runner *b, uint64_t for_ns)
{
    uint64_t until = clock_now_ns() + for_ns;
    struct lane lanes[2] = {{*a, until, 0}, {*b, until, 0}};
    pthread_t other;
    if (pthread_create(&other, NULL, lane_main, &lanes[1]) != 0) {
        give_up("pthread_create", NULL);
    }
    lane_main(&lanes[0]);
    pthread_join(other, NULL);
    return (double)(lanes[0].calls + lanes[1].calls) * 1e9 / (double)for_ns;
}

static void row_pair(const struct options *o, const struct bench_model *m, const char *path)
{
    struct contest c[2] = {{.model = m, .batch = 32}, {.model = m, .batch = 32}};
    contest_open(&c[0], o, path);
    contest_open(&c[1], o, path);
    double mine[ROUNDS_MAX], ratio[ROUNDS_MAX];
    size_t n = (size_t)o->rounds;
    for (size_t i = 0; i < n; i++) {
        struct runner a[2] = {{engine_run, &c[0].engine}, {engine_run, &c[1].engine}};
        struct runner b[2] = {{ort_runner, c[0].peer}, {ort_runner, c[1].peer}};
        mine[i] = pair_rate(&a[0], &a[1], o->round_ns * 4);
        ratio[i] = c[0].peer != NULL ? mine[i] / pair_rate(&b[0], &b[1], o->round_ns * 4) : 0;
    }
    qsort(mine, n, sizeof(double), by_value);
    qsort(ratio, n, sizeof(double), by_value);
    printf("%-7s 2 x b32      %10.0f calls/s", m->name, mine[n / 2]);
    if (c[0].peer == NULL) {
        printf("  %s\n", o->ort_why);
    } else {
        printf("                    ratio %5.2f [%.2f, %.2f]\n", ratio[n / 2], ratio[0],
               ratio[n - 1]);
    }
    contest_close(&c[0]);
    contest_close(&c[1]);
}

/* ---- products beside OpenBLAS */

typedef void (*sgemm_fn)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                         const float *a, int lda, const float *b, int ldb, float beta, float *c,
                         int ldc);
typedef char *(*corename_fn)(void);
typedef void (*set_threads_fn)(int threads);

union blas_symbol {
    void *object;
    sgemm_fn sgemm;
    corename_fn corename;
    set_threads_fn set_threads;
};

struct blas {
    sgemm_fn sgemm;
    int m, n, k;
    float *a, *b, *c;
};

static void blas_run(void *arg)
{
    struct blas *b = arg;
    b->sgemm(101, 111, 111, b->m, b->n, b->k, 1.0f, b->a, b->k, b->b, b->n, 0.0f, b->c, b->n);
}

static sgemm_fn blas_load(char why[240])
{
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    union blas_symbol s = {.object = library != NULL ? dlsym(library, "cblas_sgemm") : NULL};
    if (s.object == NULL) {
        snprintf(why, 240, "OpenBLAS is not installed");
        return NULL;
    }
    union blas_symbol core = {.object = dlsym(library, "openblas_get_corename")};
    union blas_symbol threads = {.object = dlsym(library, "openblas_set_num_threads")};
    if (threads.object != NULL) {
        threads.set_threads(1);
    }
    printf("OpenBLAS kernels: %s\n", core.object != NULL ? core.corename() : "unknown");
    return s.sgemm;
}

struct product {
    struct step *step;
    struct arena *arena;
    int64_t rows;
};

static void product_run(void *arg)
{
    struct product *p = arg;
    struct fail f = {0};
    void *host = NULL;
    if (backend_opencl->run(p->step, p->arena, p->rows, &f) != ERR_OK ||
        backend_opencl->host_begin(p->arena, 0, 4, HOST_READ, &host, &f) != ERR_OK ||
        backend_opencl->host_end(p->arena, 0, 4, HOST_READ, host, &f) != ERR_OK) {
        give_up("gemm", &f);
    }
}

static void row_gemm_size(const struct options *o, struct device *d, struct blas *b)
{
    struct graph *g = graph_new();
    uint32_t in[2] = {graph_add_value(g, VALUE_INPUT, "a"), graph_add_value(g, VALUE_INPUT, "b")};
    uint32_t out[1] = {graph_add_value(g, VALUE_UNUSED, "c")};
    uint32_t at = graph_add_node(g, "", "MatMul", 17, in, 2, out, 1);
    struct shape sa = shape_of(2, b->m, b->k), sb = shape_of(2, b->k, b->n);
    struct shape sc = shape_of(2, b->m, b->n);
    size_t a_bytes = (size_t)b->m * (size_t)b->k * sizeof(float);
    struct tensor ta = tensor_borrow(DT_F32, &sa, NULL), tb = tensor_borrow(DT_F32, &sb, b->b);
    struct tensor tc = tensor_borrow(DT_F32, &sc, NULL);
    struct place places[2] = {{.type = &ta, .batched = true, .scale = 1},
                              {.type = &tb, .constant = true}};
    size_t offset = (a_bytes + 4095) / 4096 * 4096;
    struct place result = {.type = &tc, .offset = offset, .batched = true, .scale = 1};
    struct step_spec spec = {&g->nodes[at], places, &result, b->m};
    struct product p = {.rows = b->m};
    struct fail f = {0};
    void *host = NULL;
    if (backend_opencl->compile(d, &spec, &p.step, &f) != ERR_OK ||
        backend_opencl->arena_new(d, offset + tensor_bytes(&tc), &p.arena, &f) != ERR_OK ||
        backend_opencl->host_begin(p.arena, 0, a_bytes, HOST_WRITE, &host, &f) != ERR_OK) {
        give_up("gemm", &f);
    }
    memcpy(host, b->a, a_bytes);
    if (backend_opencl->host_end(p.arena, 0, a_bytes, HOST_WRITE, host, &f) != ERR_OK) {
        give_up("gemm", &f);
    }
    char name[64];
    snprintf(name, sizeof(name), "gemm %dx%dx%d", b->m, b->n, b->k);
    struct runner ours = {product_run, &p}, peer = {blas_run, b};
    product_run(&p);
    compare(o, name, &ours, b->sgemm != NULL ? &peer : NULL, "OpenBLAS: not installed",
            2.0 * b->m * b->n * b->k);
    backend_opencl->arena_free(p.arena);
    backend_opencl->step_free(p.step);
    graph_free(g);
}

static void row_gemm(const struct options *o)
{
    static const int sizes[][3] = {{64, 256, 256}, {256, 512, 512}, {1024, 1024, 1024}};
    char why[240] = "";
    struct fail f = {0};
    struct device_options d_o = {.kind = "cpu", .cache_dir = o->dir, .tune = true};
    struct device *d = NULL;
    if (backend_opencl->device_open(&d_o, &d, &f) != ERR_OK) {
        give_up("device", &f);
    }
    printf("device: %s\n", backend_opencl->device_name(d));
    sgemm_fn sgemm = blas_load(why);
    for (size_t i = 0; i < 3; i++) {
        struct blas b = {.sgemm = sgemm, .m = sizes[i][0], .n = sizes[i][1], .k = sizes[i][2]};
        b.a = mem_array((size_t)b.m * (size_t)b.k, sizeof(float));
        b.b = mem_array((size_t)b.n * (size_t)b.k, sizeof(float));
        b.c = mem_array((size_t)b.m * (size_t)b.n, sizeof(float));
        for (size_t j = 0; j < (size_t)b.k * (size_t)b.m; j++) {
            b.a[j] = (float)(j % 17) * 0.1f;
        }
        for (size_t j = 0; j < (size_t)b.k * (size_t)b.n; j++) {
            b.b[j] = (float)(j % 13) * 0.1f;
        }
        row_gemm_size(o, d, &b);
        mem_free(b.a);
        mem_free(b.b);
        mem_free(b.c);
    }
    backend_opencl->device_close(d);
}

/* ---- */

static void read_options(struct options *o, int argc, char **argv)
{
    int c;
    while ((c = getopt(argc, argv, "r:m:")) != -1) {
        if (c == 'r') {
            o->rounds = atoi(optarg);
        } else if (c == 'm') {
            o->round_ns = (uint64_t)atoi(optarg) * 1000000u;
        } else {
            fprintf(stderr, "usage: infer_bench [-r ROUNDS] [-m MS] [ROW]...\n");
            exit(2);
        }
    }
    if (o->rounds < 1 || o->rounds > ROUNDS_MAX) {
        fprintf(stderr, "infer_bench: rounds are 1..%d\n", ROUNDS_MAX);
        exit(2);
    }
    o->rows = argv + optind;
    o->row_count = argc - optind;
}

int main(int argc, char **argv)
{
    struct options o = {.rounds = 9, .round_ns = 20000000u};
    read_options(&o, argc, argv);
    memcpy(o.dir, "/tmp/oxbow-infer-XXXXXX", sizeof("/tmp/oxbow-infer-XXXXXX"));
    if (mkdtemp(o.dir) == NULL) {
        give_up("mkdtemp", NULL);
    }
    o.ort = ort_load(o.ort_why);
    printf("peer: onnxruntime %s; one thread each; median of %d rounds, ratio = peer / engine\n",
           o.ort != NULL ? ort_version(o.ort) : o.ort_why, o.rounds);
    if (is_wanted(&o, "gemm")) {
        row_gemm(&o);
    }
    for (const struct bench_model *m = bench_models; m->name != NULL; m++) {
        char *name = mem_printf("%s.onnx", m->name), *path = file_join(o.dir, name);
        if (!m->write(path)) {
            give_up(path, NULL);
        }
        if (is_wanted(&o, m->name)) {
            row_model(&o, m, path);
        }
        if (is_wanted(&o, "pair") && (strcmp(m->name, "mlp") == 0 || strcmp(m->name, "cnn") == 0)) {
            row_pair(&o, m, path);
        }
        mem_free(name);
        mem_free(path);
    }
    char *command = mem_printf("rm -rf %s", o.dir);
    int rc = system(command);
    mem_free(command);
    return rc != 0;
}
