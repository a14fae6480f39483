/* topology/predict.c - a linear model of the pause, and its fit.
 *
 * Invariants: P1 to P3 of predict.h.
 * Why:        least squares alone would fit seven weights to three receipts perfectly and wrongly;
 *             the pull towards the default, one standard deviation of it as large as the default
 *             itself, is what a few receipts must outvote. */
#include "topology/predict.h"

#include "core/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N PAUSE_FEATURE_COUNT
#define ROUNDS 8
#define NOISE_SHARE 0.25 /* a receipt of the same change differs by about a quarter */
#define NOISE_US 50.0    /* and by this much at least: scheduling */

const char *pause_feature_name(enum pause_feature f)
{
    static const char *const names[N] = {
        [PAUSE_BASE] = "base",
        [PAUSE_MEMBERS] = "members",
        [PAUSE_DEPTH] = "depth",
        [PAUSE_HOPS] = "hops",
        [PAUSE_GROUPS] = "groups",
        [PAUSE_MIB_LOCAL] = "local_mib",
        [PAUSE_MIB_REMOTE] = "remote_mib",
    };
    return names[f];
}

struct pause_model pause_model_default(void)
{
    /* Until receipts say better: a wake-up is 20 us, a batch to its end 60, a hop 100, a group's
     * table 5 us; a mebibyte is handed over in 20 us and sent, its last delta, in 800. */
    return (struct pause_model){.us = {[PAUSE_BASE] = 150,
                                       [PAUSE_MEMBERS] = 4,
                                       [PAUSE_DEPTH] = 60,
                                       [PAUSE_HOPS] = 100,
                                       [PAUSE_GROUPS] = 5,
                                       [PAUSE_MIB_LOCAL] = 20,
                                       [PAUSE_MIB_REMOTE] = 800}};
}

/* solve - Gauss with pivoting; the ridge makes the matrix regular.  x comes in b's place. */
static void solve(double a[N][N], double b[N])
{
    for (int i = 0; i < N; i++) {
        int p = i;
        for (int r = i + 1; r < N; r++) {
            p = fabs(a[r][i]) > fabs(a[p][i]) ? r : p;
        }
        for (int k = 0; k < N; k++) {
            double swap = a[i][k];
            a[i][k] = a[p][k];
            a[p][k] = swap;
        }
        double swap = b[i];
        b[i] = b[p];
        b[p] = swap;
        for (int r = i + 1; r < N; r++) {
            double q = a[r][i] / a[i][i];
            for (int k = i; k < N; k++) {
                a[r][k] -= q * a[i][k];
            }
            b[r] -= q * b[i];
        }
    }
    for (int i = N - 1; i >= 0; i--) {
        for (int k = i + 1; k < N; k++) {
            b[i] -= a[i][k] * b[k];
        }
        b[i] /= a[i][i];
    }
}

static double value(const struct pause_model *m, const struct pause_features *f)
{
    double us = 0;
    for (int i = 0; i < N; i++) {
        us += m->us[i] * f->v[i];
    }
    return us;
}

static double noise(double pause_us)
{
    return NOISE_US + NOISE_SHARE * pause_us;
}

/* is_usable - finite and not negative: receipts come from a store that may be old or odd. */
static int is_usable(const struct pause_sample *s)
{
    for (int i = 0; i < N; i++) {
        if (!isfinite(s->features.v[i]) || s->features.v[i] < 0) {
            return 0;
        }
    }
    return isfinite(s->pause_us) && s->pause_us >= 0;
}

static int by_ratio(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* on_this_machine - the default, as much slower or faster as the median receipt says; a few receipts
 * only in part (P2).  Without it a machine ten times slower would look like nothing but outliers. */
static struct pause_model on_this_machine(const struct pause_sample *samples, size_t count)
{
    struct pause_model m = pause_model_default();
    double *ratios = mem_array(count, sizeof ratios[0]);
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        double expected = value(&m, &samples[i].features);
        if (is_usable(&samples[i]) && expected > 0 && samples[i].pause_us > 0) {
            ratios[used++] = samples[i].pause_us / expected;
        }
    }
    if (used > 0) {
        qsort(ratios, used, sizeof ratios[0], by_ratio);
        double scale = pow(ratios[used / 2], (double)used / ((double)used + 4));
        for (int i = 0; i < N; i++) {
            m.us[i] *= scale;
        }
    }
    mem_free(ratios);
    return m;
}

static struct pause_model round_of(const struct pause_model *start,
                                   const struct pause_model *last,
                                   const struct pause_sample *samples, size_t count,
                                   const unsigned char fixed[N])
{
    struct pause_model m = *last;
    double a[N][N] = {{0}}, b[N] = {0};
    for (int i = 0; i < N; i++) {
        double pull = fixed[i] ? 1e12 : 1 / (start->us[i] * start->us[i]);
        a[i][i] = pull;
        b[i] = fixed[i] ? 0 : pull * start->us[i];
    }
    for (size_t s = 0; s < count; s++) {
        if (!is_usable(&samples[s])) {
            continue;
        }
        const double *v = samples[s].features.v, y = samples[s].pause_us;
        double sigma = noise(y), off = fabs(value(last, &samples[s].features) - y) / sigma;
        double weight = (off > 1.5 ? 1.5 / off : 1) / (sigma * sigma); /* Huber: P3 */
        for (int i = 0; i < N; i++) {
            for (int k = 0; k < N; k++) {
                a[i][k] += weight * v[i] * v[k];
            }
            b[i] += weight * v[i] * y;
        }
    }
    solve(a, b);
    memcpy(m.us, b, sizeof m.us);
    return m;
}

struct pause_model pause_model_fit(const struct pause_sample *samples, size_t count)
{
    const struct pause_model start = on_this_machine(samples, count);
    struct pause_model m = start;
    unsigned char fixed[N] = {0};
    for (size_t i = 0; i < count; i++) {
        m.sample_count += is_usable(&samples[i]) ? 1 : 0;
    }
    for (int round = 0; round < ROUNDS && m.sample_count > 0; round++) {
        m = round_of(&start, &m, samples, count, fixed);
        for (int i = 0; i < N; i++) {
            if (m.us[i] < 0 || fixed[i]) { /* P1: held at 0 from here on */
                fixed[i] = 1;
                m.us[i] = 0;
            }
        }
    }
    return m;
}

uint64_t pause_model_predict_us(const struct pause_model *m, const struct pause_features *f)
{
    double us = value(m, f);
    return us > 0 && us < 1e15 ? (uint64_t)(us + 0.5) : 0;
}
