/* bench/upgrade/repeat.c - many changes of one running topology, there and back again.
 *
 * First nobody asks for anything, then the same commands come with the topology as it is, so that
 * what starting a program and reading a file cost on this machine is seen apart from what changing
 * costs; then the changes.  Latency is judged at the side branch, which has no part in them. */
#include "bench/upgrade/trial.h"
#include "core/clock.h"

#include <stdio.h>

#define COMMANDS_MAX 40u
#define AFTER_MS 500u

struct windows {
    uint64_t quiet_ns, commands_ns, changes_ns, end_ns;
};

static bool ask_for_nothing(struct trial *t, struct outcome *o, unsigned count)
{
    bool ok = true;
    for (unsigned n = 0; ok && n < count && n < COMMANDS_MAX; n++) {
        ok = trial_command(t, o, "upgrade", t->yaml, "--yes");
    }
    return ok;
}

static bool run(struct trial *t, struct outcome *o, struct changes *c, struct windows *w)
{
    trial_sleep(AFTER_MS);
    w->quiet_ns = clock_now_ns();
    trial_sleep(c->quiet_ms);
    w->commands_ns = clock_now_ns();
    if (c->quiet_ms > 0 && t->how != RESTART && !ask_for_nothing(t, o, c->wanted)) {
        return false;
    }
    w->changes_ns = clock_now_ns();
    for (unsigned n = 0; n < c->wanted; n++) {
        uint64_t begin_ns = clock_now_ns();
        if (!trial_change(t, n % 2 == 0, o)) {
            return false;
        }
        c->total_ms[n] = (double)(clock_now_ns() - begin_ns) / 1e6;
        c->switch_ms[n] = o->switch_ms;
        c->pause_ms[n] = o->pause_ms;
        c->count = n + 1;
    }
    w->end_ns = clock_now_ns();
    trial_sleep(AFTER_MS);
    return trial_command(t, o, "stop", "river", NULL);
}

struct outcome repeat_run(const struct scenario *sc, enum strategy how, const char *bin,
                          const char *dir, struct changes *c)
{
    struct outcome o = {0};
    struct trial t;
    struct windows w = {0};
    *c = (struct changes){.wanted = c->wanted, .quiet_ms = c->quiet_ms};
    o.ok = trial_open(&t, sc, how, bin, dir, &o) && run(&t, &o, c, &w);
    trial_close(&t);
    if (!o.ok) {
        return o;
    }
    struct series *main = series_read(t.main), *side = series_read(t.side);
    struct series *far = series_read(t.far);
    if (main == NULL || side == NULL || far == NULL) {
        o.ok = false;
        snprintf(o.why, sizeof o.why, "a sink wrote nothing; see %s", dir);
    } else {
        c->quiet = series_spread(side, w.quiet_ns, w.commands_ns);
        c->commands = series_spread(side, w.commands_ns, w.changes_ns);
        c->during = series_spread(side, w.changes_ns, w.end_ns);
        c->far_commands = series_spread(far, w.commands_ns, w.changes_ns);
        c->far_during = series_spread(far, w.changes_ns, w.end_ns);
        series_count(main, &o);
    }
    series_free(main);
    series_free(side);
    series_free(far);
    return o;
}
