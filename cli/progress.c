/* cli/progress.c - how a run is going: a live block on a terminal, a line at times elsewhere.
 *
 * Why:        without a terminal nothing is repainted: a log should hold whole lines.
 * See:        tests/unit/cli/view_test.c */
#include "cli/progress.h"

#include "cli/print.h"
#include "cli/view.h"
#include "core/clock.h"
#include "core/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LIVE_US 200000u
#define PLAIN_US 5000000u
#define LIVE_PES_MAX 30 /* a block longer than the screen could not be painted over */

void progress_init(struct progress *p, FILE *out, bool live, bool color)
{
    memset(p, 0, sizeof *p);
    p->out = out;
    p->live = live;
    p->color = color;
    p->started_us = clock_now_us();
}

char *progress_line(const json_t *topology, uint64_t elapsed_us)
{
    struct view_totals totals = view_totals_of(topology);
    char in[NUMBER_TEXT_BYTES], out[NUMBER_TEXT_BYTES], rate[NUMBER_TEXT_BYTES];
    number_count(totals.in, in);
    number_count(totals.out, out);
    number_rate(totals.rate_in, rate);
    return mem_printf("%s: %s %.1f s, %s in (%s/s), %s out", json_text_of(topology, "name"),
                      json_text_of(topology, "state"), (double)elapsed_us / 1e6, in, rate, out);
}

static char *pes_text(const json_t *topology, bool color, unsigned *lines)
{
    static const char *const heads[] = {"  PE", ">IN", ">OUT", ">IN/S", ">OUT/S", ">BUSY"};
    char *text = NULL;
    size_t bytes = 0, i;
    json_t *pe;
    struct table t;
    table_init(&t, heads, sizeof heads / sizeof heads[0]);
    *lines = 1;
    json_array_foreach(json_object_get(topology, "pes"), i, pe)
    {
        if (i == LIVE_PES_MAX) {
            break;
        }
        static const char *const counts[] = {"tuples_in", "tuples_out"};
        static const char *const rates[] = {"rate_in", "rate_out"};
        char number[NUMBER_TEXT_BYTES];
        char *name = mem_printf("  %s", json_text_of(pe, "name"));
        table_cell(&t, name);
        mem_free(name);
        for (unsigned c = 0; c < 2; c++) {
            number_count(json_count_of(pe, counts[c]), number);
            table_cell(&t, number);
        }
        for (unsigned c = 0; c < 2; c++) {
            number_rate(json_real_of(pe, rates[c]), number);
            table_cell(&t, number);
        }
        double busy = json_real_of(pe, "busy");
        number_share(busy, number);
        table_styled(&t, number, busy >= 0.9 ? TABLE_WARN : TABLE_PLAIN);
        (*lines)++;
    }
    FILE *memory = open_memstream(&text, &bytes);
    if (memory == NULL) {
        abort(); /* out of memory, as core/mem.c has it */
    }
    table_print(&t, memory, color);
    fclose(memory);
    table_fini(&t);
    return text;
}

static void repaint(struct progress *p, const json_t *topology, const char *line)
{
    unsigned lines = 0;
    char *pes = pes_text(topology, p->color, &lines);
    progress_clear(p);
    fprintf(p->out, "\033[?7l%s\n%s\033[?7h", line, pes); /* no wrapping: a line stays a line */
    fflush(p->out);
    p->lines = 1 + lines;
    free(pes);
}

void progress_show(struct progress *p, const json_t *topology)
{
    uint64_t now_us = clock_now_us();
    uint64_t last_us = p->shown_us != 0 ? p->shown_us : p->started_us;
    if (now_us - last_us < (p->live ? LIVE_US : PLAIN_US)) {
        return;
    }
    char *line = progress_line(topology, now_us - p->started_us);
    if (p->live) {
        repaint(p, topology, line);
    } else {
        fprintf(p->out, "%s\n", line);
        fflush(p->out);
    }
    p->shown_us = now_us;
    mem_free(line);
}

void progress_clear(struct progress *p)
{
    if (p->lines > 0) {
        fprintf(p->out, "\033[%uA\033[J", p->lines);
        fflush(p->out);
        p->lines = 0;
    }
}
