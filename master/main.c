/* master/main.c - the program oxbow-master: options, signals, the loop.
 *
 * Threads:    the main thread runs the loop; helper threads are those of master/job.h. */
#include "core/failpoint.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/prompt.h"
#include "master/master.h"
#include "pe/registry.h"

#include <event2/event.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum exit_code { EXIT_DONE = 0, EXIT_RAN_AND_FAILED = 1, EXIT_USAGE = 2, EXIT_REFUSED = 3 };

static const char usage[] =
    "usage: oxbow-master [--data DIR] [--listen HOST:PORT] [--http HOST:PORT] [--insecure]\n"
    "\n"
    "  --data DIR          topologies, artifacts and decisions live here (./oxbow-data)\n"
    "  --listen HOST:PORT  where workers connect (127.0.0.1:7400); port 0 takes a free one\n"
    "  --http HOST:PORT    where the CLI, scripts and browsers connect (127.0.0.1:7480)\n"
    "  --insecure          listen on other addresses than loopback, open to all who reach them\n"
    "  --help, --version\n"
    "\n"
    "Prints one line `ready ...` when it serves.  SIGTERM ends it; what runs keeps running.\n"
    "$OXBOW_LOG: debug, info, warn or error (info).\n";

struct program {
    struct master_options options;
    bool insecure;
};

static int complain(const struct fail *f, int code)
{
    fprintf(stderr, "error: %s%s%s\n", f->what, f->hint[0] != '\0' ? "; " : "", f->hint);
    return code;
}

/* Return: an exit code to end with, or -1 to go on. */
static int parse_options(int argc, char **argv, struct program *p, struct fail *f)
{
    static const struct option options[] = {{"data", required_argument, NULL, 'd'},
                                            {"listen", required_argument, NULL, 'l'},
                                            {"http", required_argument, NULL, 'w'},
                                            {"insecure", no_argument, NULL, 'i'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'v'},
                                            {NULL, 0, NULL, 0}};
    enum err e = ERR_OK;
    for (int c; e == ERR_OK && (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'd':
            p->options.data = optarg;
            break;
        case 'l':
            e = address_parse(optarg, &p->options.listen, f);
            break;
        case 'w':
            e = address_parse(optarg, &p->options.http, f);
            break;
        case 'i':
            p->insecure = true;
            break;
        case 'h':
            fputs(usage, stdout);
            return EXIT_DONE;
        case 'v':
            puts("oxbow-master " OXBOW_VERSION);
            return EXIT_DONE;
        default:
            return EXIT_USAGE; /* getopt has said why */
        }
    }
    if (e == ERR_OK && optind < argc) {
        e = fail_set(f, ERR_INVALID, "see --help", "unknown argument %s", argv[optind]);
    }
    return e == ERR_OK ? -1 : complain(f, EXIT_USAGE);
}

static bool is_open_to_all(const struct program *p)
{
    return !address_is_loopback(&p->options.listen) || !address_is_loopback(&p->options.http);
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
    (void)what;
    log_event(LOG_INFO, "master.signal", "signal=%d", (int)number);
    loop_quit(arg);
}

static int serve(const struct program *p)
{
    struct fail f = {0};
    struct loop *loop = loop_new();
    if (loop == NULL) {
        fail_set(&f, ERR_IO, "raise the limit of open files", "cannot make an event loop");
        return complain(&f, EXIT_RAN_AND_FAILED);
    }
    struct master *m = master_new(loop, &p->options, &f);
    if (m == NULL) {
        loop_free(loop);
        return complain(&f, f.code == ERR_DENIED ? EXIT_REFUSED : EXIT_RAN_AND_FAILED);
    }
    struct event *signals[] = {evsignal_new(loop_base(loop), SIGTERM, on_signal, loop),
                               evsignal_new(loop_base(loop), SIGINT, on_signal, loop)};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        event_add(signals[i], NULL);
    }
    printf("ready oxbow-master control=%s:%u http=%s:%u\n", p->options.listen.host,
           listener_port(m->listener), p->options.http.host, http_port(m->http));
    fflush(stdout);
    prompt_thread(PROMPT_LOOP_US);
    loop_run(loop);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        event_free(signals[i]);
    }
    master_free(m);
    loop_free(loop);
    return EXIT_DONE;
}

int main(int argc, char **argv)
{
    struct program p = {.options = MASTER_OPTIONS_DEFAULT};
    struct fail f = {0};
    if (argc == 3 && strcmp(argv[1], "--describe-plugin") == 0) {
        return describe_plugin_main(argv[2]); /* the child of types_describe */
    }
    mem_keep_freed();
    log_setup("oxbow-master", LOG_INFO);
    if (!failpoint_setup()) {
        return EXIT_USAGE;
    }
    int code = parse_options(argc, argv, &p, &f);
    if (code >= 0) {
        return code;
    }
    if (is_open_to_all(&p) && !p.insecure) {
        fail_set(&f, ERR_DENIED, "listen on 127.0.0.1, or accept the risk with --insecure",
                 "anybody who can reach this address could run code here");
        return complain(&f, EXIT_REFUSED);
    }
    return serve(&p);
}
