/* cli/run.c - `oxbow run FILE`: a whole local cluster of real processes for one topology.
 *
 * Owns:       the run: cluster, progress, the reaction to Ctrl-C.
 * Runs on:    one thread.
 * Invariants: R1 every way out stops and reaps the children and removes a temporary folder.
 *             R2 the first Ctrl-C drains, the second ends at once.
 * See:        tests/e2e */
#include "cli/cluster.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "cli/submit.h"
#include "cli/validate.h"
#include "cli/view.h"
#include "core/clock.h"
#include "core/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define POLL_US_MIN 10000u
#define POLL_US_MAX 250000u
#define GRACE_MS 5000u

static volatile sig_atomic_t interrupts; /* tidy: signal */

struct run_options {
    uint32_t workers;
    const char *http;
    const char *data;
};

static const struct option run_option_list[] = {
    {.name = "--workers",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct run_options, workers),
     .value = "N",
     .min = 1,
     .max = WORKERS_MAX,
     .doc = "worker processes (1)"},
    {.name = "--http",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct run_options, http),
     .value = "HOST:PORT",
     .doc = "where the master serves HTTP (a free port of 127.0.0.1)"},
    {.name = "--data",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct run_options, data),
     .value = "DIR",
     .doc = "keep data and logs there (a temporary folder, removed at the end)"},
    {.name = NULL},
};

static int run_run(struct cli *cli, const void *options, char **args, unsigned arg_count);

const struct verb verb_run = {
    .name = "run",
    .usage = "run FILE [--workers N] [--http HOST:PORT] [--data DIR]",
    .brief = "run one topology on a local cluster of its own",
    .help =
        "Example: oxbow run access.yaml --workers 2\n\n"
        "Starts a master and workers as processes of this machine, runs the topology and shows\n"
        "its progress on stderr.  Ends when every source has ended and all is drained, or on\n"
        "Ctrl-C after a drain; a second Ctrl-C ends at once.  What stdout-sink writes goes to\n"
        "stdout.  With `-o json` stdout holds the final status document alone, and what\n"
        "stdout-sink writes goes to stderr.  Exit code 1 when the topology fails.",
    .args_min = 1,
    .args_max = 1,
    .options = run_option_list,
    .options_bytes = sizeof(struct run_options),
    .run = run_run,
};

struct run {
    struct cli *cli;
    struct cluster cluster;
    struct progress progress;
    char *name;       /* of the topology */
    char *path;       /* of its status document */
    json_t *topology; /* the newest document; NULL before the first */
    uint64_t started_us;
    uint64_t next_poll_us;
    int drains_asked;
    bool output_closed; /* our reader has gone */
};

static void on_signal(int number)
{
    (void)number;
    interrupts = interrupts + 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN); /* a reader that goes away ends the run, with its clean-up */
}

/* forward_output - what the workers printed, to stdout (stderr with -o json). */
static void forward_output(struct run *r)
{
    struct strbuf *b = &r->cluster.output;
    int fd = fileno(r->cli->json ? r->cli->err : r->cli->out);
    size_t from = 0;
    if (b->bytes > 0) {
        progress_clear(&r->progress);
    }
    while (from < b->bytes && !r->output_closed) {
        ssize_t n = write(fd, b->data + from, b->bytes - from);
        if (n < 0 && errno == EINTR && interrupts < 2) {
            continue;
        }
        r->output_closed = n < 0;
        from += n > 0 ? (size_t)n : 0;
    }
    strbuf_clear(b);
}

static int fail_child(struct run *r, const struct child *child)
{
    char *how = child_end_text(child);
    char *what = mem_printf("%s %s", child->name, how);
    progress_clear(&r->progress);
    cluster_logs(&r->cluster, child, false, r->cli->err);
    cli_error(r->cli, what, "the run cannot go on", "its last lines are above");
    mem_free(what);
    mem_free(how);
    return EXIT_FAILED;
}

/* on_interrupt - R2.  Return: EXIT_DONE to go on. */
static int on_interrupt(struct run *r)
{
    progress_clear(&r->progress);
    if (r->drains_asked > 0 || r->output_closed) {
        cli_error(r->cli, "ended at once", "what was under way is dropped", NULL);
        return EXIT_FAILED;
    }
    fprintf(r->cli->err, "draining %s; Ctrl-C again ends at once\n", r->name);
    r->drains_asked++;
    struct fail f = {0};
    struct client_reply reply;
    char *path = mem_printf("%s/stop", r->path);
    enum err e = client_call(r->cli->master, "POST", path, NULL, NULL, 0, &reply, &f);
    mem_free(path);
    if (e != ERR_OK) {
        return cli_fail(r->cli, &f);
    }
    client_reply_fini(&reply); /* refused: it has ended by itself, and the next poll tells */
    return EXIT_DONE;
}

static int poll_status(struct run *r, bool *over)
{
    json_t *topology = NULL;
    int code = cli_get(r->cli, r->path, &topology);
    if (code != EXIT_DONE) {
        return code;
    }
    json_decref(r->topology);
    r->topology = topology;
    *over = state_is_one_of(json_text_of(topology, "state"), "finished stopped failed");
    if (!*over) {
        progress_show(&r->progress, topology);
    }
    /* rarer as the run gets longer: the end is noticed within 5 % of its duration */
    uint64_t now_us = clock_now_us();
    uint64_t wait_us = (now_us - r->started_us) / 20;
    wait_us = wait_us < POLL_US_MIN ? POLL_US_MIN : wait_us > POLL_US_MAX ? POLL_US_MAX : wait_us;
    r->next_poll_us = now_us + wait_us;
    return EXIT_DONE;
}

static int follow(struct run *r)
{
    int code = EXIT_DONE;
    bool over = false;
    while (code == EXIT_DONE && !over) {
        uint64_t now_us = clock_now_us();
        int wait_ms = now_us >= r->next_poll_us ? 0 : (int)((r->next_poll_us - now_us) / 1000) + 1;
        cluster_pump(&r->cluster, wait_ms);
        forward_output(r);
        const struct child *dead = cluster_dead(&r->cluster);
        if (dead != NULL) {
            code = fail_child(r, dead);
        } else if (interrupts > r->drains_asked || r->output_closed) {
            code = on_interrupt(r);
        } else if (clock_now_us() >= r->next_poll_us) {
            code = poll_status(r, &over);
        }
    }
    progress_clear(&r->progress);
    return code;
}

static void print_summary(struct run *r, uint64_t ended_us)
{
    struct view_totals totals = view_totals_of(r->topology);
    double seconds = (double)(ended_us - r->started_us) / 1e6;
    double rate_per_second = seconds > 0 ? (double)totals.in / seconds : 0;
    if (r->cli->json) {
        json_object_set_new(r->topology, "run",
                            json_pack("{s:I, s:I, s:f, s:f}", "tuples_in", (json_int_t)totals.in,
                                      "tuples_out", (json_int_t)totals.out, "seconds", seconds,
                                      "rate", rate_per_second));
        cli_print_json(r->cli->out, r->topology);
        return;
    }
    char in[NUMBER_TEXT_BYTES], out[NUMBER_TEXT_BYTES], rate[NUMBER_TEXT_BYTES];
    number_count(totals.in, in);
    number_count(totals.out, out);
    number_rate(rate_per_second, rate);
    fprintf(r->cli->err, "%s %s: %s tuples in, %s out, %.2f s, %s/s\n", r->name,
            json_text_of(r->topology, "state"), in, out, seconds, rate);
}

static int run_topology(struct run *r, const struct loaded *l)
{
    uint64_t version = 0;
    r->started_us = clock_now_us();
    int code = submit_topology(r->cli, l, &r->name, &version);
    if (code != EXIT_DONE) {
        return code;
    }
    r->path = mem_printf("/v1/topologies/%s", r->name);
    r->next_poll_us = clock_now_us() + POLL_US_MIN;
    r->progress.started_us = r->started_us;
    if (!r->cli->json && r->progress.live) {
        fprintf(r->cli->err, "%s on %u worker%s; status: oxbow --master %s status %s\n", r->name,
                r->cluster.child_count - 1, r->cluster.child_count == 2 ? "" : "s", r->cluster.url,
                r->name);
    }
    code = follow(r);
    uint64_t ended_us = clock_now_us();
    if (code != EXIT_DONE) {
        return code;
    }
    cluster_pump(&r->cluster, 0);
    forward_output(r);
    if (strcmp(json_text_of(r->topology, "state"), "failed") == 0) {
        cluster_logs(&r->cluster, NULL, true, r->cli->err);
        code = submit_print_failure(r->cli, r->topology);
    }
    /* the workers end before the summary, so that it stands after all they print */
    cluster_stop(&r->cluster, GRACE_MS);
    forward_output(r);
    print_summary(r, ended_us);
    return code;
}

static int run_run(struct cli *cli, const void *options, char **args, unsigned arg_count)
{
    (void)arg_count;
    const struct run_options *o = options;
    struct run r = {.cli = cli};
    struct loaded l;
    struct fail f = {0};
    int code = validate_load(cli, args[0], &l);
    if (code != EXIT_DONE) {
        load_fini(&l);
        return code;
    }
    catch_signals();
    bool live = isatty(fileno(cli->err)) == 1;
    progress_init(&r.progress, cli->err, live, cli->color_err);
    struct cluster_options how = {
        .program = cli->program,
        .http = o->http,
        .data = o->data,
        .workers = o->workers != 0 ? o->workers : 1,
        .interrupts = &interrupts,
    };
    if (cluster_start(&r.cluster, &how, &f) != ERR_OK) {
        cluster_logs(&r.cluster, NULL, false, cli->err);
        code = cli_fail(cli, &f);
    } else {
        cli->master = r.cluster.url;
        fprintf(cli->err, "%s: on %s (for --master)\n", l.topology->name, r.cluster.url);
        code = run_topology(&r, &l);
    }
    cluster_stop(&r.cluster, interrupts > 1 ? 200 : GRACE_MS); /* R1 */
    forward_output(&r);
    cluster_fini(&r.cluster);
    cli->master = NULL;
    json_decref(r.topology);
    mem_free(r.path);
    mem_free(r.name);
    load_fini(&l);
    return code;
}
