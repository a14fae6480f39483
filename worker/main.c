/* worker/main.c - the program oxbow-worker. */
#include "core/failpoint.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/limits.h"
#include "core/text.h"
#include "net/conn.h"
#include "pe/infer/cl/compiler.h"
#include "pe/registry.h"
#include "worker/worker.h"

#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "oxbow-worker --master 127.0.0.1:7400 --name w1\n"
    "\n"
    "Joins a master and runs the processing elements it places here.\n"
    "\n"
    "usage: oxbow-worker --master HOST:PORT [options]\n"
    "  --name NAME          unique in the cluster (default: made from host and process)\n"
    "  --data DIR           artifacts and state (default: ./oxbow-data/NAME)\n"
    "  --listen HOST:PORT   where peers connect (default: 127.0.0.1:0, a free port)\n"
    "  --threads N          executor threads (default: the number of cores)\n"
    "  --slots N            instances it takes (default: 64)\n"
    "  --label KEY=VALUE    for placement; may be repeated\n"
    "  --insecure           allow --listen beyond loopback (there is no TLS yet)\n"
    "  --help, --version\n"
    "\n"
    "Prints `ready oxbow-worker name=NAME peers=HOST:PORT` when the master has accepted it.\n"
    "SIGTERM and SIGINT end it.  $OXBOW_LOG=debug|info|warn|error sets the log level.\n";

struct program {
    struct worker *worker;
    sigset_t signals;
    bool refused, told;
    const char *host;
    char **argv;
};

static void on_ready(void *arg, const char *name, uint16_t port)
{
    struct program *p = arg;
    if (!p->told) {
        p->told = true;
        printf("ready oxbow-worker name=%s peers=%s:%u\n", name, p->host, port);
        fflush(stdout);
    }
}

static void on_refused(void *arg, const char *what, const char *hint)
{
    struct program *p = arg;
    fprintf(stderr, "error: the master refuses this worker; %s; %s\n", what, hint);
    p->refused = true;
    worker_quit(p->worker);
}

/* A thread that hangs in a PE cannot be ended, nor trusted when it wakes: it goes with all others
 * when this process becomes another one.  Its id stays, for whoever watches over it. */
static void on_renew(void *arg, const char *why)
{
    const struct program *p = arg;
    (void)why; /* logged */
    (void)close_range(3, ~0u, CLOSE_RANGE_CLOEXEC); /* what PEs have opened, too */
    execv("/proc/self/exe", p->argv);
    log_event(LOG_ERROR, "worker.ends", "why=\"it could not begin anew\"");
    _exit(1);
}

static void *wait_for_signal(void *arg)
{
    struct program *p = arg;
    int signal = 0;
    sigwait(&p->signals, &signal);
    worker_quit(p->worker);
    return NULL;
}

static int usage(const char *what)
{
    fprintf(stderr, "error: %s; see oxbow-worker --help\n", what);
    return 2;
}

static bool parse_count(const char *text, long max, unsigned *out)
{
    int64_t n;
    if (!text_parse_i64(text, &n) || n < 1 || n > max) {
        return false;
    }
    *out = (unsigned)n;
    return true;
}

enum { OPT_MASTER = 1, OPT_NAME, OPT_DATA, OPT_LISTEN, OPT_THREADS, OPT_SLOTS, OPT_LABEL,
       OPT_INSECURE, OPT_HELP, OPT_VERSION, OPT_DESCRIBE };

static const struct option options[] = {
    {"master", required_argument, NULL, OPT_MASTER},
    {"name", required_argument, NULL, OPT_NAME},
    {"data", required_argument, NULL, OPT_DATA},
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"slots", required_argument, NULL, OPT_SLOTS},
    {"label", required_argument, NULL, OPT_LABEL},
    {"insecure", no_argument, NULL, OPT_INSECURE},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {"describe-plugin", required_argument, NULL, OPT_DESCRIBE},
    {NULL, 0, NULL, 0},
};

/* Return: -1 to go on, else the exit code. */
static int parse(int argc, char **argv, struct oxb_worker_options *o, const char **labels,
                 bool *insecure)
{
    unsigned label_count = 0;
    for (int opt; (opt = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (opt) {
        case OPT_MASTER: o->master = optarg; break;
        case OPT_NAME: o->name = optarg; break;
        case OPT_DATA: o->data = optarg; break;
        case OPT_LISTEN: o->listen = optarg; break;
        case OPT_INSECURE: *insecure = true; break;
        case OPT_DESCRIBE: return describe_plugin_main(optarg);
        case OPT_THREADS:
            if (!parse_count(optarg, EXECUTORS_MAX, &o->threads)) {
                return usage("--threads takes a number from 1 to 256");
            }
            break;
        case OPT_SLOTS:
            if (!parse_count(optarg, INSTANCES_MAX, &o->slots)) {
                return usage("--slots takes a number from 1 to 10000");
            }
            break;
        case OPT_LABEL:
            if (label_count == LABELS_MAX) {
                return usage("too many labels");
            }
            labels[label_count++] = optarg;
            break;
        case OPT_HELP: fputs(help, stdout); return 0;
        case OPT_VERSION: puts("oxbow-worker " OXBOW_VERSION); return 0;
        default: return 2; /* getopt has said why */
        }
    }
    if (optind < argc) {
        return usage("unexpected argument");
    }
    if (o->master == NULL) {
        return usage("--master HOST:PORT is required");
    }
    if (o->name != NULL && !text_is_name(o->name)) {
        return usage("--name takes lower-case letters, digits and dashes, a letter first");
    }
    return -1;
}

int main(int argc, char **argv)
{
    log_setup("worker", LOG_WARN);
    if (argc == 2 && strcmp(argv[1], COMPILER_FLAG) == 0) {
        return compiler_main(); /* started by another worker */
    }
    mem_keep_freed();
    if (!failpoint_setup()) {
        return 2;
    }
    struct oxb_worker_options o = {0};
    const char *labels[LABELS_MAX + 1] = {0};
    bool insecure = false;
    int code = parse(argc, argv, &o, labels, &insecure);
    if (code >= 0) {
        return code;
    }
    o.labels = labels;
    struct fail f = {0};
    struct address listen = {.host = "127.0.0.1"};
    if (o.listen != NULL && address_parse(o.listen, &listen, &f) != ERR_OK) {
        fprintf(stderr, "error: %s; %s\n", f.what, f.hint);
        return 2;
    }
    if (!address_is_loopback(&listen) && !insecure) {
        fprintf(stderr, "error: --listen %s is not loopback; peer links are neither encrypted nor "
                        "authenticated yet; use a loopback address or give --insecure\n", o.listen);
        return 3;
    }
    struct program p = {.host = listen.host, .argv = argv};
    sigemptyset(&p.signals);
    sigaddset(&p.signals, SIGTERM);
    sigaddset(&p.signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &p.signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    struct worker_callbacks cb = {
        .on_ready = on_ready, .on_refused = on_refused, .on_renew = on_renew, .arg = &p};
    p.worker = worker_new(&o, &cb, &f);
    if (p.worker == NULL) {
        fprintf(stderr, "error: %s; %s\n", f.what, f.hint);
        return f.code == ERR_INVALID ? 2 : f.code == ERR_DENIED ? 3 : 1;
    }
    pthread_t signals;
    if (pthread_create(&signals, NULL, wait_for_signal, &p) != 0) {
        return 1;
    }
    worker_run(p.worker);
    pthread_cancel(signals);
    pthread_join(signals, NULL);
    worker_free(p.worker);
    return p.refused ? 3 : 0;
}
