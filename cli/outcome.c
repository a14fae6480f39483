/* cli/outcome.c - waits for the receipt of a change, showing its phases as they pass.
 *
 * The answer to a change names the newest event before it; reading on from there misses nothing,
 * however late the reader comes.  When the line breaks (a master that is killed), the receipt is
 * asked for until the time is over: the next master says how it ended.
 *
 * Invariants: O1 Ctrl-C only ends the watching, and says so: a change that was begun goes on. */
#include "cli/outcome.h"

#include "cli/client.h"
#include "cli/print.h"
#include "cli/receipt.h"
#include "cli/submit.h"
#include "core/clock.h"
#include "core/mem.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define RETRY_MS 100
#define MASTER_AWAY_US 15000000u /* it may be restarted meanwhile */

struct watch {
    struct cli *cli;
    const char *name;
    uint64_t version, last; /* last: id of the newest event read */
    uint64_t until_us;
    int interrupts;         /* signalfd of SIGINT */
    bool missed;            /* some events are gone: the receipt may be among them */
    json_t *receipt;
};

char *outcome_path(const char *path, uint64_t timeout_us)
{
    if (timeout_us == 0) {
        return mem_dup(path);
    }
    return mem_printf("%s%ctimeout=%" PRIu64 ".%06" PRIu64, path,
                      strchr(path, '?') != NULL ? '&' : '?', timeout_us / 1000000,
                      timeout_us % 1000000);
}

int outcome_post(struct cli *cli, const char *path, const char *body, uint64_t timeout_us,
                 json_t **answer)
{
    struct client_reply reply = {0};
    struct fail f = {0};
    char *full = outcome_path(path, timeout_us);
    enum err e =
        client_call_for(cli->master, "POST", full, body != NULL ? "application/json" : NULL, body,
                        body != NULL ? strlen(body) : 0, timeout_us, &reply, &f);
    mem_free(full);
    if (e != ERR_OK) {
        return cli_fail(cli, &f);
    }
    int code = EXIT_DONE;
    if (reply.status < 200 || reply.status > 299) {
        code = cli_refused(cli, &reply, NULL);
    } else {
        *answer = json_incref(reply.json);
    }
    client_reply_fini(&reply);
    return code;
}

/* ---- events */

static void show(const struct watch *w, const json_t *event)
{
    const char *kind = json_text_of(event, "kind");
    FILE *err = w->cli->err;
    if (strcmp(kind, "phase") == 0) {
        fprintf(err, "%s\n", json_text_of(event, "phase"));
    } else if (strcmp(kind, "answer") == 0) {
        const json_t *why = json_object_get(event, "error");
        fprintf(err, "  %s is %s%s%s\n", json_text_of(event, "worker"),
                json_text_of(event, "answer"), json_is_object(why) ? ": " : "",
                json_text_of(why, "message"));
    } else if (strcmp(kind, "error") == 0) {
        fprintf(err, "  %s\n", json_text_of(json_object_get(event, "error"), "message"));
    }
}

/* Return: false when the receipt is there. */
static bool take(struct watch *w, const char *data)
{
    json_t *event = json_loads(data, 0, NULL);
    const char *kind = json_text_of(event, "kind");
    w->last = json_count_of(event, "id") != 0 ? json_count_of(event, "id") : w->last;
    w->missed = w->missed || strcmp(kind, "missed") == 0;
    if (json_count_of(event, "version") == w->version) {
        show(w, event);
        if (strcmp(kind, "receipt") == 0) {
            w->receipt = json_incref(json_object_get(event, "receipt"));
        }
    }
    json_decref(event);
    return w->receipt == NULL;
}

static bool on_line(void *arg, const char *line)
{
    struct watch *w = arg;
    bool more = strncmp(line, "data: ", 6) == 0 ? take(w, line + 6) : true;
    return more && !w->missed;
}

static bool is_interrupted(const struct watch *w)
{
    struct signalfd_siginfo info;
    return w->interrupts >= 0 && read(w->interrupts, &info, sizeof info) == sizeof info;
}

static enum err follow(struct watch *w, struct fail *f)
{
    char *path = mem_printf("/v1/events?topology=%s&after=%" PRIu64, w->name, w->last);
    enum err e =
        client_follow(w->cli->master, path, w->until_us, w->interrupts, on_line, w, f);
    mem_free(path);
    return e;
}

/* ---- whole */

/* The events have ended, or some are gone: ask.  Return: EXIT_DONE, or the exit code, printed. */
static int ask(struct watch *w, bool quiet)
{
    struct cli silent = *w->cli;
    FILE *nowhere = quiet ? fopen("/dev/null", "w") : NULL;
    if (nowhere != NULL) {
        silent.err = nowhere;
    }
    int code = receipt_find(&silent, w->name, w->version, &w->receipt);
    if (nowhere != NULL) {
        fclose(nowhere);
    }
    return code;
}

static int too_late(struct watch *w)
{
    char *hint = mem_printf("it goes on; look with `oxbow history %s`", w->name);
    cli_error(w->cli, "there is no receipt yet", "the time given has passed", hint);
    mem_free(hint);
    return EXIT_TIMEOUT;
}

static int detached(struct watch *w)
{
    fprintf(w->cli->err,
            "detached: the change of %s to version %" PRIu64
            " goes on; its receipt: oxbow receipt %s %" PRIu64 "\n",
            w->name, w->version, w->name, w->version);
    return EXIT_DETACHED;
}

static int watch(struct watch *w)
{
    uint64_t away_us = 0;
    for (;;) {
        struct fail f = {0};
        w->missed = false;
        (void)follow(w, &f);
        if (w->receipt != NULL) {
            return EXIT_DONE;
        }
        if (is_interrupted(w)) {
            return detached(w);
        }
        int code = ask(w, true);
        uint64_t now_us = clock_now_us();
        if (code == EXIT_DONE && w->receipt != NULL) {
            return EXIT_DONE;
        }
        away_us = code != EXIT_UNREACHABLE ? 0 : away_us != 0 ? away_us : now_us;
        if (code == EXIT_UNREACHABLE && now_us - away_us > MASTER_AWAY_US) {
            return ask(w, false);
        }
        if (code != EXIT_DONE && code != EXIT_UNREACHABLE) {
            return ask(w, false);
        }
        if (now_us >= w->until_us) {
            return too_late(w);
        }
        submit_sleep_ms(RETRY_MS);
    }
}

int outcome_wait(struct cli *cli, const json_t *answer, uint64_t timeout_us, json_t **receipt)
{
    /* undecided by then, the master gives it up and says so: it gets a little longer for that */
    uint64_t time_us = timeout_us != 0 ? timeout_us : CHANGE_TIMEOUT_US;
    struct watch w = {.cli = cli,
                      .name = json_text_of(answer, "topology"),
                      .version = json_count_of(answer, "version"),
                      .last = json_count_of(answer, "event"),
                      .until_us = clock_now_us() + time_us + 5000000u};
    sigset_t interrupt, before;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    sigprocmask(SIG_BLOCK, &interrupt, &before); /* O1 */
    w.interrupts = signalfd(-1, &interrupt, SFD_CLOEXEC | SFD_NONBLOCK);
    int code = watch(&w);
    if (w.interrupts >= 0) {
        close(w.interrupts);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    *receipt = w.receipt;
    return code;
}

/* Decided, and then a worker was lost: the new version runs when it has been recovered. */
static int wait_recovered(struct cli *cli, const json_t *receipt, uint64_t timeout_us)
{
    const char *name = json_text_of(receipt, "topology");
    json_t *topology = NULL;
    fprintf(cli->err, "decided; the new version of %s is recovered from a checkpoint: %s\n", name,
            json_text_of(json_object_get(receipt, "error"), "message"));
    int code = submit_wait(cli, name, "running draining finished stopped failed",
                           timeout_us != 0 ? timeout_us : CHANGE_TIMEOUT_US, &topology);
    if (code == EXIT_DONE && strcmp(json_text_of(topology, "state"), "failed") == 0) {
        code = submit_print_failure(cli, topology);
    }
    json_decref(topology);
    return code;
}

int outcome_explain(struct cli *cli, const json_t *receipt, uint64_t timeout_us)
{
    const json_t *error = json_object_get(receipt, "error");
    const char *result = json_text_of(receipt, "result"), *code = json_text_of(error, "code");
    if (strcmp(result, "done") == 0) {
        return EXIT_DONE;
    }
    if (strcmp(result, "recovered") == 0) {
        return wait_recovered(cli, receipt, timeout_us);
    }
    char *what = mem_printf("the change of %s was %s", json_text_of(receipt, "topology"), result);
    cli_error(cli, what, json_text_of(error, "message"), json_text_of(error, "hint"));
    mem_free(what);
    if (strcmp(result, "aborted") == 0 && strcmp(code, "DENIED") == 0) {
        return EXIT_REFUSED; /* seen only when all was prepared */
    }
    return strcmp(code, "TIMEOUT") == 0 ? EXIT_TIMEOUT : EXIT_FAILED;
}

int outcome_finish(struct cli *cli, const json_t *answer, uint64_t timeout_us)
{
    json_t *receipt = NULL;
    if (strcmp(json_text_of(answer, "result"), "no change") == 0) {
        if (cli->json) {
            cli_print_json(cli->out, answer);
        } else {
            fprintf(cli->out, "no change: %s stays at version %" PRIu64 "\n",
                    json_text_of(answer, "topology"), json_count_of(answer, "version"));
        }
        return EXIT_DONE;
    }
    int code = outcome_wait(cli, answer, timeout_us, &receipt);
    if (code == EXIT_DONE) {
        receipt_print(cli, receipt);
        code = outcome_explain(cli, receipt, timeout_us);
    }
    json_decref(receipt);
    return code;
}
