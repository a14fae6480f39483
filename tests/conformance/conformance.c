/* tests/conformance/conformance.c - the ONNX project's own tests, counted by tier and path.
 *
 * Goal:   every operator gives what ONNX says, by reference and on devices; what is not supported
 *         says so; nothing crashes.
 * Method: each folder of the suites runs through model_test in a process that takes up to GROUP of
 *         them, since opening a device takes longer than most tests; when it dies, that is one
 *         failure of the folder it was at, and another goes on behind it.  A tier is the highest of
 *         the operators in a model's graph.
 * Paths:  a device, or DEVICE+weights: there a model's inputs but the first are constants.  ONNX's
 *         folders give weights as inputs, while kernels are made for models that have them.
 * Usage:  conformance [--device PATH,...] [--data DIR] [--quiet] [SUITE | SUITE/NAME]...
 * Exit:   0 when no test failed. */
#include "core/mem.h"
#include "core/strbuf.h"
#include "pe/infer/backend.h"
#include "pe/infer/model.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define DATA_DEFAULT "/usr/share/libonnx-testdata/data"
#define TEST_SECONDS_MAX 60 /* of a processor; then it counts as crashed */
#define HANG_SECONDS 1800   /* of anything, for one that waits */
#define GROUP 64            /* tests of a process */
#define PATHS_MAX 8
#define STAND_IN "pthread" /* OXBOW_CL_AS_GPU where there is no GPU */

enum { TIERS = 9, TIER_REST = 8 };

static const struct {
    const char *name;
    const char *ops;
} tiers[TIERS] = {
    {"0 dense", "Gemm MatMul Add Sub Mul Div Relu Sigmoid Tanh Softmax LogSoftmax Flatten Reshape "
                "Identity Constant Clip LeakyRelu Elu Dropout Neg Abs Exp Log Sqrt Cast Sum Mean "
                "Min Max"},
    {"1 convolution",
     "Conv ConvTranspose MaxPool AveragePool GlobalAveragePool GlobalMaxPool GlobalLpPool "
     "BatchNormalization Concat Transpose Pad PRelu HardSigmoid HardSwish Hardmax Softplus "
     "Softsign Selu Celu ThresholdedRelu LRN InstanceNormalization Squeeze Unsqueeze ReduceSum "
     "ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp "
     "ReduceSumSquare DepthToSpace SpaceToDepth Upsample LpNormalization LpPool "
     "GroupNormalization Mish Shrink MeanVarianceNormalization"},
    {"2 shape, logic",
     "Gather GatherElements GatherND Slice Split Shape Size Expand Tile Range Where Equal Greater "
     "Less GreaterOrEqual LessOrEqual And Or Not Xor Pow Mod Sin Cos Tan Asin Acos Atan Sinh Cosh "
     "Asinh Acosh Atanh ArgMax ArgMin TopK CumSum OneHot Scatter ScatterElements ScatterND Trilu "
     "CastLike BitShift BitwiseAnd BitwiseOr BitwiseXor BitwiseNot Einsum Unique Ceil Floor Round "
     "Sign Reciprocal IsNaN IsInf NonZero ConstantOfShape EyeLike Compress ReverseSequence Det"},
    {"3 recurrent", "RNN LSTM GRU"},
    {"4 transformer",
     "LayerNormalization Erf Gelu RMSNormalization RotaryEmbedding Attention TensorScatter"},
    {"5 quantised", "QuantizeLinear DequantizeLinear DynamicQuantizeLinear MatMulInteger "
                    "ConvInteger QLinearMatMul QLinearConv"},
    {"6 vision", "Resize GridSample RoiAlign NonMaxSuppression MaxUnpool MaxRoiPool "
                 "CenterCropPad Col2Im AffineGrid"},
    {"7 control flow", "If Loop Scan"},
    {"rest", ""},
};

static const char *const suites[] = {"node", "pytorch-operator", "pytorch-converted", "simple"};
enum { SUITES = sizeof suites / sizeof suites[0] };

struct tally {
    unsigned count[3];  /* by enum verdict */
    unsigned on_device; /* of those that passed: with a kernel of the device in them */
};

struct path {
    char name[32];
    char device[24];
    bool weights;
    bool stand_in; /* PoCL's device counts as a GPU */
    struct tally by_tier[TIERS];
    struct tally by_suite[SUITES];
    struct tally all;
};

struct test {
    char *suite;
    char *name;
};

struct runner {
    struct path paths[PATHS_MAX];
    size_t path_count;
    struct test *tests;
    size_t test_count, test_capacity;
    const char *data;
    bool quiet;
};

/* What the child says to the parent, once per test. */
struct report {
    enum verdict verdict;
    int tier;
    bool on_device;
    char why[512];
};

static bool has_word(const char *words, const char *word, size_t bytes)
{
    for (const char *p = words; (p = strstr(p, word)) != NULL; p++) {
        if ((p == words || p[-1] == ' ') && (p[bytes] == ' ' || p[bytes] == '\0')) {
            return true;
        }
    }
    return false;
}

static int tier_of_op(const char *op)
{
    for (int t = 0; t < TIER_REST; t++) {
        if (has_word(tiers[t].ops, op, strlen(op))) {
            return t;
        }
    }
    return TIER_REST;
}

static int tier_of(const char *dir)
{
    struct graph *g = NULL;
    struct fail f;
    char *path = mem_printf("%s/model.onnx", dir);
    int tier = TIER_REST;
    if (model_open(path, &g, &f) == ERR_OK) {
        struct strbuf ops = {0};
        model_ops(g, &ops);
        tier = 0;
        char *text = strbuf_take(&ops), *save = NULL;
        for (char *op = text != NULL ? strtok_r(text, " ", &save) : NULL; op != NULL;
             op = strtok_r(NULL, " ", &save)) {
            int t = tier_of_op(op);
            tier = t > tier ? t : tier;
        }
        mem_free(text);
        model_close(g);
    }
    mem_free(path);
    return tier;
}

/* ---- a process that runs tests one after the other */

/* As much of a processor as a test may use, from now on. */
static void limit_test(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    rlim_t used = (rlim_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) + 1;
    const struct rlimit most = {used + TEST_SECONDS_MAX, RLIM_INFINITY};
    (void)setrlimit(RLIMIT_CPU, &most); /* so that a busy machine fails no test */
    alarm(HANG_SECONDS);
}

static void report_test(const struct runner *run, const struct path *p, const struct test *t,
                        struct report *r)
{
    struct fail f = {0};
    struct model_run how = {.device = p->device, .weights = p->weights};
    char *dir = mem_printf("%s/%s/%s", run->data, t->suite, t->name);
    r->tier = tier_of(dir);
    r->verdict = model_test(dir, &how, &f);
    r->on_device = how.on_device > 0;
    snprintf(r->why, sizeof r->why, "%s", f.what);
    mem_free(dir);
}

static void run_child(const struct runner *run, const struct path *p, size_t from, size_t to,
                      int fd)
{
    bool ok = true;
    if (p->stand_in) {
        setenv("OXBOW_CL_AS_GPU", STAND_IN, 1);
    }
    for (size_t i = from; i < to && ok; i++) {
        struct report r;
        memset(&r, 0, sizeof r);
        limit_test();
        report_test(run, p, &run->tests[i], &r);
        ok = write(fd, &r, sizeof r) == sizeof r;
    }
    exit(ok ? 0 : 1); /* through exit, so that leak checkers report */
}

static pid_t start(const struct runner *run, const struct path *p, size_t from, size_t to, int *fd)
{
    int fds[2];
    if (pipe(fds) != 0) {
        perror("pipe");
        exit(1);
    }
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        exit(1);
    }
    if (child == 0) {
        close(fds[0]);
        run_child(run, p, from, to, fds[1]);
    }
    close(fds[1]);
    *fd = fds[0];
    return child;
}

/* ---- counting */

static void add(struct tally *t, const struct report *r)
{
    t->count[r->verdict]++;
    t->on_device += r->verdict == VERDICT_PASS && r->on_device;
}

static void count(const struct runner *run, struct path *p, const struct test *t,
                  const struct report *r)
{
    static const char *const names[] = {"pass", "fail", "unsupported"};
    add(&p->by_tier[r->tier], r);
    for (int i = 0; i < SUITES; i++) {
        if (strcmp(t->suite, suites[i]) == 0) {
            add(&p->by_suite[i], r);
        }
    }
    add(&p->all, r);
    if (r->verdict == VERDICT_FAIL || !run->quiet) {
        printf("%s %s %s/%s%s%s\n", names[r->verdict], p->name, t->suite, t->name,
               r->why[0] != '\0' ? " " : "", r->why);
    }
}

/* Return: how many tests are done with, at least one. */
static size_t run_group(const struct runner *run, struct path *p, size_t from, size_t to)
{
    struct report r;
    int fd = -1, status = 0;
    size_t at = from;
    pid_t child = start(run, p, from, to, &fd);
    while (at < to && read(fd, &r, sizeof r) == sizeof r) { /* less than PIPE_BUF: whole */
        count(run, p, &run->tests[at++], &r);
    }
    close(fd);
    waitpid(child, &status, 0);
    if (at < to || status != 0) {
        r = (struct report){.verdict = VERDICT_FAIL, .tier = TIER_REST};
        snprintf(r.why, sizeof r.why, "the process ended with %s %d",
                 WIFSIGNALED(status) ? "signal" : "status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        count(run, p, &run->tests[at < to ? at++ : at - 1], &r);
    }
    return at - from;
}

static void run_path(const struct runner *run, struct path *p)
{
    for (size_t at = 0; at < run->test_count;) {
        size_t left = run->test_count - at;
        at += run_group(run, p, at, at + (left < GROUP ? left : GROUP));
    }
}

static void print_tally(const char *what, const struct tally *t)
{
    unsigned total = t->count[0] + t->count[1] + t->count[2];
    printf("# %-24s %4u of %4u pass, %3u fail, %3u unsupported; %4u with kernels\n", what,
           t->count[VERDICT_PASS], total, t->count[VERDICT_FAIL], t->count[VERDICT_UNSUPPORTED],
           t->on_device);
}

static void print_path(const struct path *p)
{
    printf("# path %s%s\n", p->name, p->stand_in ? " (no GPU here: PoCL's device for it)" : "");
    for (int t = 0; t < TIERS; t++) {
        print_tally(tiers[t].name, &p->by_tier[t]);
    }
    for (int i = 0; i < SUITES; i++) {
        print_tally(suites[i], &p->by_suite[i]);
    }
    print_tally("all", &p->all);
}

/* ---- what to run */

static void add_test(struct runner *run, const char *suite, const char *name)
{
    run->tests = mem_grow(run->tests, run->test_count, &run->test_capacity, sizeof *run->tests);
    run->tests[run->test_count++] = (struct test){mem_dup(suite), mem_dup(name)};
}

static int is_test(const struct dirent *e)
{
    return strncmp(e->d_name, "test_", 5) == 0;
}

static bool add_suite(struct runner *run, const char *suite)
{
    struct dirent **list = NULL;
    char *path = mem_printf("%s/%s", run->data, suite);
    int n = scandir(path, &list, is_test, alphasort);
    mem_free(path);
    if (n <= 0) {
        fprintf(stderr, "error: no tests in %s/%s; install libonnx-testdata\n", run->data, suite);
        return false;
    }
    for (int i = 0; i < n; i++) {
        add_test(run, suite, list[i]->d_name);
        free(list[i]);
    }
    free(list);
    return true;
}

/* In a process of its own, since devices once open would be this one's. */
static bool has_device(const char *kind)
{
    int status = 1;
    pid_t child = fork();
    if (child == 0) {
        struct fail f;
        struct device *d = NULL;
        const struct device_options o = {.kind = kind};
        bool there = backend_opencl != NULL && backend_opencl->device_open(&o, &d, &f) == ERR_OK;
        if (there) {
            backend_opencl->device_close(d);
        }
        exit(there ? 0 : 1);
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

static bool add_path(struct runner *run, const char *name)
{
    struct path *p = &run->paths[run->path_count];
    size_t bytes = strcspn(name, "+");
    bool known = name[bytes] == '\0' || strcmp(name + bytes, "+weights") == 0;
    if (run->path_count == PATHS_MAX || !known || bytes >= sizeof p->device) {
        fprintf(stderr, "error: %s: want reference, fused, cpu or gpu, with or without +weights\n",
                name);
        return false;
    }
    memcpy(p->device, name, bytes);
    snprintf(p->name, sizeof p->name, "%s", name);
    p->weights = name[bytes] != '\0';
    bool opened = strcmp(p->device, "reference") != 0 && strcmp(p->device, "fused") != 0;
    if (opened && !has_device(p->device)) {
        p->stand_in = strcmp(p->device, "gpu") == 0 && getenv("OXBOW_CL_AS_GPU") == NULL;
        if (!p->stand_in || !has_device("cpu")) {
            fprintf(stderr, "error: no OpenCL device `%s`; install pocl-opencl-icd\n", p->device);
            return false;
        }
    }
    run->path_count++;
    return true;
}

static bool add_paths(struct runner *run, char *names)
{
    char *save = NULL;
    bool ok = true;
    for (char *name = strtok_r(names, ",", &save); name != NULL && ok;
         name = strtok_r(NULL, ",", &save)) {
        ok = add_path(run, name);
    }
    return ok;
}

static bool parse(struct runner *run, int argc, char **argv)
{
    bool ok = true;
    for (int i = 1; i < argc && ok; i++) {
        char *slash = strchr(argv[i], '/');
        if (strcmp(argv[i], "--quiet") == 0) {
            run->quiet = true;
        } else if (strcmp(argv[i], "--device") == 0 && i + 1 < argc) {
            ok = add_paths(run, argv[++i]);
        } else if (strcmp(argv[i], "--data") == 0 && i + 1 < argc) {
            run->data = argv[++i];
        } else if (slash != NULL) {
            *slash = '\0';
            add_test(run, argv[i], slash + 1);
        } else {
            ok = add_suite(run, argv[i]);
        }
    }
    bool all = run->test_count == 0;
    for (size_t i = 0; all && ok && i < SUITES; i++) {
        ok = add_suite(run, suites[i]);
    }
    return ok && (run->path_count > 0 || add_path(run, "reference"));
}

int main(int argc, char **argv)
{
    struct runner run = {.data = DATA_DEFAULT};
    bool ok = parse(&run, argc, argv);
    for (size_t i = 0; ok && i < run.path_count; i++) {
        run_path(&run, &run.paths[i]);
    }
    unsigned failed = 0;
    for (size_t i = 0; ok && i < run.path_count; i++) {
        print_path(&run.paths[i]);
        failed += run.paths[i].all.count[VERDICT_FAIL];
    }
    for (size_t i = 0; i < run.test_count; i++) {
        mem_free(run.tests[i].suite);
        mem_free(run.tests[i].name);
    }
    mem_free(run.tests);
    return ok && failed == 0 ? 0 : 1;
}
