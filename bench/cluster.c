/* bench/cluster.c - a master and some workers as real processes, for a measurement. */
#include "bench/cluster.h"

#include "bench/procs.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define READY_SECONDS 10u

static bool start_worker(struct cluster *c, const char *bin, const char *dir, unsigned n)
{
    char program[4200], data[4300], log[4300], name[16], label[16], word[16];
    snprintf(program, sizeof program, "%s/oxbow-worker", bin);
    snprintf(data, sizeof data, "%s/worker%u", dir, n);
    snprintf(log, sizeof log, "%s/worker%u.log", dir, n);
    snprintf(name, sizeof name, "worker%u", n);
    snprintf(label, sizeof label, "side=%c", (int)('a' + n));
    const char *argv[] = {program,    "--master",    c->control, "--data", data,
                          "--listen", "127.0.0.1:0", "--label", label,
                          "--name",   name,          NULL};
    c->worker[n] = proc_start(argv, log);
    return proc_said(log, " ", word, sizeof word, READY_SECONDS);
}

bool cluster_start(struct cluster *c, const char *bin, const char *dir, unsigned workers)
{
    char program[4200], data[4300], log[4300], http[128];
    *c = (struct cluster){.master = -1};
    snprintf(program, sizeof program, "%s/oxbow-master", bin);
    snprintf(data, sizeof data, "%s/master", dir);
    snprintf(log, sizeof log, "%s/master.log", dir);
    const char *argv[] = {program,       "--data", data,          "--listen",
                          "127.0.0.1:0", "--http", "127.0.0.1:0", NULL};
    c->master = proc_start(argv, log);
    if (!proc_said(log, "control=", c->control, sizeof c->control, READY_SECONDS) ||
        !proc_said(log, "http=", http, sizeof http, READY_SECONDS)) {
        return false;
    }
    snprintf(c->url, sizeof c->url, "%s%s", strncmp(http, "http", 4) == 0 ? "" : "http://", http);
    while (c->workers < workers) {
        if (!start_worker(c, bin, dir, c->workers++)) {
            return false;
        }
    }
    return true;
}

bool cluster_kill(struct cluster *c, const char *bin, const char *dir, unsigned n)
{
    kill(c->worker[n], SIGKILL);
    (void)proc_wait(c->worker[n], READY_SECONDS);
    return start_worker(c, bin, dir, n);
}

void cluster_stop(struct cluster *c)
{
    for (unsigned w = 0; w < c->workers; w++) {
        proc_end(c->worker[w]);
    }
    proc_end(c->master);
}
