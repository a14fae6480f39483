/* tests/conformance/conformance.c - the ONNX project's own tests, counted by tier.
 *
 * Goal:   every operator gives what ONNX says; what is not supported says so; nothing crashes.
 * Method: each folder of the suites runs in a process of its own through model_test, so that a
 *         crash is one failure.  A tier is the highest of the operators in a model's graph.
 * Usage:  conformance [--device reference|cpu|gpu] [--data DIR] [--quiet] [SUITE/NAME...]
 * Exit:   0 when no test failed. */
#include "core/mem.h"
#include "core/strbuf.h"
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

struct tally {
    unsigned count[3]; /* by enum verdict */
};

struct runner {
    const char *device;
    bool quiet;
    struct tally by_tier[TIERS];
    struct tally all;
    struct tally suite;
};

/* What the child says to the parent. */
struct report {
    enum verdict verdict;
    int tier;
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

static void run_child(const char *dir, const char *device, int fd)
{
    struct report r = {.tier = tier_of(dir)};
    struct fail f = {0};
    const struct rlimit most = {TEST_SECONDS_MAX, TEST_SECONDS_MAX};
    (void)setrlimit(RLIMIT_CPU, &most); /* so that a busy machine fails no test */
    alarm(HANG_SECONDS);
    r.verdict = model_test(dir, device, &f);
    snprintf(r.why, sizeof r.why, "%s", f.what);
    ssize_t n = write(fd, &r, sizeof r);
    exit(n == sizeof r ? 0 : 1); /* through exit, so that leak checkers report */
}

static struct report run_isolated(const char *dir, const char *device)
{
    struct report r = {.verdict = VERDICT_FAIL, .tier = TIER_REST};
    int fds[2], status = 0;
    if (pipe(fds) != 0) {
        perror("pipe");
        exit(1);
    }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        run_child(dir, device, fds[1]);
    }
    close(fds[1]);
    ssize_t n = read(fds[0], &r, sizeof r);
    close(fds[0]);
    waitpid(child, &status, 0);
    if (n != sizeof r || status != 0) {
        r.verdict = VERDICT_FAIL;
        snprintf(r.why, sizeof r.why, "the process ended with %s %d",
                 WIFSIGNALED(status) ? "signal" : "status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    return r;
}

static void run_one(struct runner *run, const char *data, const char *suite, const char *name)
{
    static const char *const names[] = {"pass", "fail", "unsupported"};
    char *dir = mem_printf("%s/%s/%s", data, suite, name);
    struct report r = run_isolated(dir, run->device);
    run->by_tier[r.tier].count[r.verdict]++;
    run->all.count[r.verdict]++;
    run->suite.count[r.verdict]++;
    if (r.verdict == VERDICT_FAIL || !run->quiet) {
        printf("%s %s/%s%s%s\n", names[r.verdict], suite, name, r.why[0] != '\0' ? " " : "", r.why);
    }
    mem_free(dir);
}

static int is_test(const struct dirent *e)
{
    return strncmp(e->d_name, "test_", 5) == 0;
}

static void print_tally(const char *what, const struct tally *t)
{
    unsigned total = t->count[0] + t->count[1] + t->count[2];
    printf("# %-24s %4u of %4u pass, %3u fail, %3u unsupported\n", what, t->count[VERDICT_PASS],
           total, t->count[VERDICT_FAIL], t->count[VERDICT_UNSUPPORTED]);
}

static bool run_suite(struct runner *run, const char *data, const char *suite)
{
    struct dirent **list = NULL;
    char *path = mem_printf("%s/%s", data, suite);
    int n = scandir(path, &list, is_test, alphasort);
    mem_free(path);
    if (n <= 0) {
        fprintf(stderr, "error: no tests in %s/%s; install libonnx-testdata\n", data, suite);
        return false;
    }
    run->suite = (struct tally){0};
    for (int i = 0; i < n; i++) {
        run_one(run, data, suite, list[i]->d_name);
        free(list[i]);
    }
    free(list);
    print_tally(suite, &run->suite);
    return true;
}

int main(int argc, char **argv)
{
    static const char *const suites[] = {"node", "pytorch-operator", "pytorch-converted", "simple"};
    struct runner run = {.device = "reference"};
    const char *data = DATA_DEFAULT;
    bool ok = true;
    int words = 0;
    for (int i = 1; i < argc; i++) {
        char *slash = strchr(argv[i], '/');
        if (strcmp(argv[i], "--quiet") == 0) {
            run.quiet = true;
        } else if (strcmp(argv[i], "--device") == 0 && i + 1 < argc) {
            run.device = argv[++i];
        } else if (strcmp(argv[i], "--data") == 0 && i + 1 < argc) {
            data = argv[++i];
        } else if (slash != NULL) {
            words++;
            *slash = '\0';
            run_one(&run, data, argv[i], slash + 1);
        } else {
            words++;
            ok = run_suite(&run, data, argv[i]) && ok;
        }
    }
    for (size_t i = 0; words == 0 && i < sizeof suites / sizeof suites[0]; i++) {
        ok = run_suite(&run, data, suites[i]) && ok;
    }
    for (int t = 0; t < TIERS; t++) {
        print_tally(tiers[t].name, &run.by_tier[t]);
    }
    char *what = mem_printf("all, device %s", run.device);
    print_tally(what, &run.all);
    mem_free(what);
    return ok && run.all.count[VERDICT_FAIL] == 0 ? 0 : 1;
}
