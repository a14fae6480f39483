/* bench/upgrade/draw.c - SVG: latency over time, and figures over what was varied.
 *
 * Latency: each point is the worst of 20 ms of arrivals, from two seconds before the change to two
 * after its begin; the ordinate is logarithmic, 10 us to 10 s.  A gap in a line is a time in which
 * nothing arrived. */
#include "bench/upgrade/upgrade.h"

#include <math.h>
#include <stdio.h>

#define WIDTH 900.0
#define HEIGHT 420.0
#define LEFT 70.0
#define TOP 40.0
#define PLOT_W 800.0
#define PLOT_H 300.0
#define BIN_NS UINT64_C(20000000)
#define SPAN_NS UINT64_C(4000000000)
#define LOW -2.0  /* log10 of ms */
#define HIGH 4.0

static const char *const colors[STRATEGIES] = {"#c33", "#d90", "#888", "#06c"};

static double y_of(double ms)
{
    double v = log10(ms > 0.01 ? ms : 0.01);
    v = v > HIGH ? HIGH : v;
    return TOP + PLOT_H * (HIGH - v) / (HIGH - LOW);
}

static void draw_scale(FILE *f, const char *title, const char *what)
{
    static const char *const ticks[] = {"10 us",  "100 us", "1 ms", "10 ms",
                                        "100 ms", "1 s",    "10 s"};
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n"
            "<rect width=\"%.0f\" height=\"%.0f\" fill=\"white\"/>\n"
            "<text x=\"%.0f\" y=\"22\" font-size=\"15\">%s: %s</text>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT, LEFT, title, what);
    for (int i = 0; i <= 6; i++) {
        double y = y_of(pow(10, LOW + i));
        fprintf(f,
                "<path d=\"M%.0f %.1fh%.0f\" stroke=\"#ddd\"/><text x=\"%.0f\" y=\"%.1f\" "
                "text-anchor=\"end\">%s</text>\n",
                LEFT, y, PLOT_W, LEFT - 6, y + 4, ticks[i]);
    }
}

static void draw_seconds(FILE *f)
{
    for (int i = 0; i <= 4; i++) {
        double x = LEFT + PLOT_W * i / 4;
        fprintf(f,
                "<path d=\"M%.1f %.0fv%.0f\" stroke=\"%s\"/><text x=\"%.1f\" y=\"%.0f\" "
                "text-anchor=\"middle\">%d s</text>\n",
                x, TOP, PLOT_H, i == 2 ? "#888" : "#eee", x, TOP + PLOT_H + 18, i - 2);
    }
}

static void draw_line(FILE *f, const struct series *s, const char *color)
{
    uint64_t zero = s->begin_ns - SPAN_NS / 2;
    bool down = false;
    fprintf(f, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" d=\"", color);
    size_t i = 0;
    for (uint64_t bin = 0; bin < SPAN_NS / BIN_NS; bin++) {
        double worst = -1;
        for (; i < s->count && s->items[i].at_ns < zero + (bin + 1) * BIN_NS; i++) {
            double ms = (double)(s->items[i].at_ns - s->items[i].due_ns) / 1e6;
            if (s->items[i].at_ns >= zero + bin * BIN_NS && ms > worst) {
                worst = ms;
            }
        }
        if (worst >= 0) {
            double x = LEFT + PLOT_W * ((double)bin + 0.5) * (double)BIN_NS / (double)SPAN_NS;
            fprintf(f, "%c%.1f %.1f", down ? 'L' : 'M', x, y_of(worst));
        }
        down = worst >= 0;
    }
    fprintf(f, "\"/>\n");
}

bool draw(const char *path, const char *title, struct series *const s[STRATEGIES])
{
    FILE *f = fopen(path, "we");
    if (f == NULL) {
        return false;
    }
    draw_scale(f, title, "latency around the change");
    draw_seconds(f);
    double x = LEFT;
    for (unsigned n = 0; n < STRATEGIES; n++) {
        if (s[n] != NULL) {
            draw_line(f, s[n], colors[n]);
            fprintf(f,
                    "<path d=\"M%.0f %.0fh24\" stroke=\"%s\" stroke-width=\"3\"/>"
                    "<text x=\"%.0f\" y=\"%.0f\">%s</text>\n",
                    x, HEIGHT - 22, colors[n], x + 30, HEIGHT - 18,
                    strategy_name((enum strategy)n));
            x += 200;
        }
    }
    fprintf(f, "</svg>\n");
    return fclose(f) == 0;
}

/* ---------------------------------------------------------------- sweeps */

static void draw_figures(FILE *f, const double *ms, unsigned count, const char *color,
                         const char *dashes)
{
    fprintf(f, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-dasharray=\"%s\" d=\"",
            color, dashes);
    bool down = false;
    for (unsigned n = 0; n < count; n++) {
        if (ms[n] >= 0) {
            double x = LEFT + PLOT_W * ((double)n + 0.5) / (double)count;
            fprintf(f, "%c%.1f %.1f", down ? 'L' : 'M', x, y_of(ms[n]));
        }
        down = ms[n] >= 0;
    }
    fprintf(f, "\"/>\n");
}

bool draw_sweep(const char *path, const char *title, const char *const points[], unsigned count,
                const struct sweep_line lines[STRATEGIES])
{
    FILE *f = fopen(path, "we");
    if (f == NULL) {
        return false;
    }
    draw_scale(f, title, "switch (lines) and pause (dashes), medians");
    for (unsigned n = 0; n < count; n++) {
        fprintf(f, "<text x=\"%.1f\" y=\"%.0f\" text-anchor=\"middle\">%s</text>\n",
                LEFT + PLOT_W * ((double)n + 0.5) / (double)count, TOP + PLOT_H + 18, points[n]);
    }
    double x = LEFT;
    for (unsigned k = 0; k < STRATEGIES; k++) {
        bool any = false;
        for (unsigned n = 0; n < count; n++) {
            any = any || lines[k].switch_ms[n] >= 0;
        }
        if (any) {
            draw_figures(f, lines[k].switch_ms, count, colors[k], "none");
            draw_figures(f, lines[k].pause_ms, count, colors[k], "4 4");
            fprintf(f, "<text x=\"%.0f\" y=\"%.0f\" fill=\"%s\">%s</text>\n", x, HEIGHT - 18,
                    colors[k], strategy_name((enum strategy)k));
            x += 200;
        }
    }
    fprintf(f, "</svg>\n");
    return fclose(f) == 0;
}
