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
    struct floor floor;
};

/* judge_kill - in order of arrival: output stops, what is older comes again, then what is due. */
static void judge_kill(const struct series *s, uint64_t killed_ns, struct figures *f)
{
    uint64_t newest = 0, longest = 0;
    size_t gap = s->count;
    f->p99_ms = latency_of(s, 1, killed_ns - 2000 * MS, killed_ns).p99;
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
    good = good && floor_keep(&r);
    uint64_t at_ns = clock_now_ns();
    good = good && run_kill(&r) && run_grows(&r) && run_caught_up(&r, 20);
    struct series *s = series_read(r.series);
    *f = (struct figures){0};
    if (good && s != NULL) {
        judge_kill(s, at_ns, f);
    }
    series_free(s);
    good = run_end(&r, good && s != NULL);
    if (good && (mib == 0 || !floor_run(&r, &f->floor))) {
        f->floor = (struct floor){0};
    }
    return good;
}

static bool kills(uint64_t mib, double rate, unsigned rounds)
{
    double first[ROUNDS_MAX], last[ROUNDS_MAX], replayed[ROUNDS_MAX], least[ROUNDS_MAX];
    double times[ROUNDS_MAX];
    for (unsigned k = 0; k < rounds; k++) {
        struct figures f;
        if (!one_kill(mib, rate, &f)) {
            return false;
        }
        first[k] = f.first_ms / 1000;
        last[k] = f.last_ms / 1000;
        replayed[k] = f.replayed;
        least[k] = f.floor.seconds;
        times[k] = f.floor.times;
    }
    double middle = median(first, rounds);
    printf("%9llu   %6.2f [%.2f, %.2f]   %6.2f   %8.0f   %6.2f   %5.2f\n", (unsigned long long)mib,
           middle, first[0], first[rounds - 1], median(last, rounds), median(replayed, rounds),
           median(least, rounds), median(times, rounds));
    fflush(stdout);
    return true;
}

struct asked {
    const char *tables;
    uint64_t sizes[16]; /* MiB; [count] */
    size_t count;
    unsigned rounds;
    double kill_rate; /* tuples per second */
    double rate;      /* of the latency table; 0: `share` of what goes through */
    double share;
    const char *retain;
};

static bool kill_table(const struct asked *a)
{
    bool good = true;
    printf(
        "state MiB   first s [least, most]   last s   replayed   floor s   times   (killed, %.0f "
        "tuples/s)\n",
        a->kill_rate);
    for (size_t i = 0; i < a->count && good; i++) {
        good = kills(a->sizes[i], a->kill_rate, a->rounds);
    }
    return good;
}

static bool latency_table(const struct asked *a)
{
    bool good = true;
    puts("state MiB  1000/s    with: p50, p99, max    without: p50, p99, max   p99 ratio "
         "[least, most]   of a checkpoint: MB, ms, pause ms, most");
    for (size_t i = 0; i < a->count && good; i++) {
        double rate = a->rate > 0 ? a->rate : a->share * capacity(a->sizes[i]);
        good = rate > 0 && steady(a->sizes[i], rate, a->rounds);
    }
    return good;
}

static bool throughput_table(const struct asked *a)
{
    bool good = true;
    puts("state MiB   throughput [least, most] with, without: 1000/s   processor time a tuple "
         "[least, most] with, without: ns   others"
         "   of a checkpoint: MB, ms, pause ms, most");
    for (size_t i = 0; i < a->count && good; i++) {
        good = steady(a->sizes[i], 0, a->rounds);
    }
    return good;
}

static bool tables(const struct asked *a)
{
    return (strchr(a->tables, 'k') == NULL || kill_table(a)) &&
           (strchr(a->tables, 'l') == NULL || latency_table(a)) &&
           (strchr(a->tables, 't') == NULL || throughput_table(a));
}

static int usage(bool asked)
{
    fputs("usage: oxbow-bench-recovery [-w TABLES] [-r ROUNDS] [-k RATE] [-l RATE] [-s SHARE]\n"
          "                            [-R SIZE] [MIB...]\n"
          "  TABLES: k kills, l latency, t throughput; default klt\n"
          "  RATE: tuples per second, of kills (20000) and of latency; the default of latency is\n"
          "  SHARE (0.5) of what goes through unpaced.  SIZE: checkpoint: {retain: SIZE}\n",
          asked ? stdout : stderr);
    return asked ? 0 : 2;
}

int main(int argc, char **argv)
{
    struct asked a = {"klt", {0, 64, 256, 1024}, 4, 3, 20000, 0, 0.5, NULL};
    size_t given = 0;
    int opt;
    while ((opt = getopt(argc, argv, "w:r:k:l:s:R:h")) != -1) {
        a.tables = opt == 'w' ? optarg : a.tables;
        a.rounds = opt == 'r' ? (unsigned)strtoul(optarg, NULL, 10) : a.rounds;
        a.kill_rate = opt == 'k' ? strtod(optarg, NULL) : a.kill_rate;
        a.rate = opt == 'l' ? strtod(optarg, NULL) : a.rate;
        a.share = opt == 's' ? strtod(optarg, NULL) : a.share;
        a.retain = opt == 'R' ? optarg : a.retain;
        if (opt == 'h' || opt == '?') {
            return usage(opt == 'h');
        }
    }
    for (int i = optind; i < argc && given < 16; i++) {
        a.sizes[given++] = strtoull(argv[i], NULL, 10);
    }
    a.count = given > 0 ? given : a.count;
    if (a.rounds == 0 || a.rounds > ROUNDS_MAX || !(a.kill_rate > 0) || !(a.share > 0)) {
        return usage(false);
    }
    bool good = runs_set_up(a.retain) && tables(&a);
    return good && runs_remove() ? 0 : 1;
}
