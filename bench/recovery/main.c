/* bench/recovery/main.c - how long a killed worker is missed, and what checkpoints cost.
 *
 * First table: SIGKILL, the process is started again at once, as a supervisor would; `first` is
 * when output comes again, `last` when it is no later than it was before the kill, `replayed` the
 * tuples that came twice.  The others: bench/recovery/steady.c.  Everything but what a checkpoint
 * has cost is judged by the arrivals at the sink.  Figures are medians, ratios the median of each
 * round's own, with the least and the most; no time is asserted. */
#include "bench/recovery/recovery.h"
#include "core/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct figures {
    double first_ms, last_ms, replayed, p99_ms;
};

/* judge_kill - in order of arrival: output stops, what is older comes again, then what is due. */
static void judge_kill(const struct series *s, uint64_t killed_ns, struct figures *f)
{
    uint64_t newest = 0, longest = 0;
    size_t gap = s->count;
    f->p99_ms = latency_of(s, killed_ns - 2000 * MS, killed_ns).p99;
    f->first_ms = f->last_ms = -1;
    for (size_t i = 1; i < s->count; i++) { /* what was on its way still comes: the longest gap */
        uint64_t wait = s->items[i].at_ns - s->items[i - 1].at_ns;
        if (s->items[i].at_ns > killed_ns && wait > longest) {
            longest = wait;
            gap = i;
        }
    }
    for (size_t i = 0; i < gap; i++) {
        newest = s->items[i].seq > newest ? s->items[i].seq : newest;
    }
    for (size_t i = gap; i < s->count; i++) {
        double since_ms = (double)(s->items[i].at_ns - killed_ns) / 1e6;
        f->first_ms = i == gap ? since_ms : f->first_ms;
        f->replayed += s->items[i].seq <= newest;
        if (s->items[i].seq > newest && f->last_ms < 0 && late_ms(&s->items[i]) <= f->p99_ms) {
            f->last_ms = since_ms;
        }
    }
}

static bool one_kill(uint64_t mib, double rate, struct figures *f)
{
    struct run r = {0};
    bool good = run_begin(&r, mib, rate, "1s") && run_checkpoint(&r) && run_caught_up(&r, 20);
    pause_ms(2500);
    uint64_t at_ns = clock_now_ns();
    good = good && run_kill(&r) && run_grows(&r) && run_caught_up(&r, 20);
    struct series *s = series_read(r.series);
    *f = (struct figures){0};
    if (good && s != NULL) {
        judge_kill(s, at_ns, f);
    }
    series_free(s);
    return run_end(&r, good && s != NULL);
}

static bool kills(uint64_t mib, double rate, unsigned rounds)
{
    double first[ROUNDS_MAX], last[ROUNDS_MAX], replayed[ROUNDS_MAX];
    for (unsigned k = 0; k < rounds; k++) {
        struct figures f;
        if (!one_kill(mib, rate, &f)) {
            return false;
        }
        first[k] = f.first_ms / 1000;
        last[k] = f.last_ms / 1000;
        replayed[k] = f.replayed;
    }
    double middle = median(first, rounds);
    printf("%9llu   %6.2f [%.2f, %.2f]   %6.2f   %8.0f\n", (unsigned long long)mib, middle,
           first[0], first[rounds - 1], median(last, rounds), median(replayed, rounds));
    fflush(stdout);
    return true;
}

static bool tables(const char *which, const uint64_t *sizes, size_t count, double rate,
                   unsigned rounds)
{
    bool good = true;
    if (strchr(which, 'k') != NULL) {
        printf("state MiB   first s [least, most]   last s   replayed   (killed, %.0f tuples/s)\n",
               rate);
    }
    for (size_t i = 0; i < count && good && strchr(which, 'k') != NULL; i++) {
        good = kills(sizes[i], rate, rounds);
    }
    if (strchr(which, 'l') != NULL && good) {
        puts("state MiB    with: p50, p99, max    without: p50, p99, max   p99 ratio [least, most]"
             "   of a checkpoint: MB, ms, pause ms, most");
    }
    for (size_t i = 0; i < count && good && strchr(which, 'l') != NULL; i++) {
        good = steady(sizes[i], rate, rounds);
    }
    if (strchr(which, 't') != NULL && good) {
        puts("state MiB    with, without: 1000/s   ratio [least, most]"
             "   of a checkpoint: MB, ms, pause ms, most");
    }
    for (size_t i = 0; i < count && good && strchr(which, 't') != NULL; i++) {
        good = steady(sizes[i], 0, rounds);
    }
    return good;
}

int main(int argc, char **argv)
{
    uint64_t sizes[16] = {0, 64, 256, 1024};
    size_t count = 4, given = 0;
    unsigned rounds = 3;
    double rate = 20000;
    const char *which = "klt";
    int opt;
    while ((opt = getopt(argc, argv, "r:t:w:h")) != -1) {
        rounds = opt == 'r' ? (unsigned)strtoul(optarg, NULL, 10) : rounds;
        rate = opt == 't' ? strtod(optarg, NULL) : rate;
        which = opt == 'w' ? optarg : which;
        if (opt == 'h' || opt == '?' || rounds == 0 || rounds > ROUNDS_MAX || !(rate > 0)) {
            fputs("usage: oxbow-bench-recovery [-r ROUNDS] [-t TUPLES-PER-SECOND] [-w TABLES] "
                  "[MIB...]\n  TABLES: k kills, l latency, t throughput; default klt\n",
                  opt == 'h' ? stdout : stderr);
            return opt == 'h' ? 0 : 2;
        }
    }
    for (int i = optind; i < argc && given < 16; i++) {
        sizes[given++] = strtoull(argv[i], NULL, 10);
    }
    count = given > 0 ? given : count;
    bool good = runs_set_up() && tables(which, sizes, count, rate, rounds);
    return good && runs_remove() ? 0 : 1;
}
