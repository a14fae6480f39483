/* worker/crash.c - the handler, its record, and reading it back. */
#include "worker/crash.h"

#include "core/file.h"
#include "core/mem.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STACK_BYTES = 64 << 10, SIGNALS = 6 };
static const int signals[SIGNALS] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};

#define MAGIC UINT64_C(0x3168736172632d6f) /* "o-crash1" */

struct record { /* as written: a file of another size is none */
    uint64_t magic;
    struct crash crash;
};

/* A signal handler is called with nothing but what is global. */
static struct {
    char path[PATH_BYTES_MAX];
    uint64_t incarnation;
    bool armed;
    atomic_flag taken; /* by the first thread that crashes */
    struct sigaction before[SIGNALS];
    struct record record;
} recorder; /* tidy: set once, before there are threads; the rest is the handler's */

static _Thread_local struct {
    uint64_t instance;
    const char *call;
    struct crash_tuple tuple;
    void *stack;
    bool crashed;
} now; /* tidy: whose code this thread runs */

static size_t at_most(size_t bytes, size_t room)
{
    return bytes < room ? bytes : room - 1;
}

static void write_record(int signal)
{
    struct crash *c = &recorder.record.crash;
    recorder.record.magic = MAGIC;
    c->incarnation = recorder.incarnation;
    c->instance = now.instance;
    c->signal = (uint64_t)signal;
    memcpy(c->call, now.call, at_most(strlen(now.call), sizeof c->call));
    if (now.tuple.instance == now.instance) { /* not that of who has called it */
        c->sum = now.tuple.sum;
        memcpy(c->stream, now.tuple.stream, at_most(now.tuple.stream_bytes, sizeof c->stream));
        if (now.tuple.tuple_bytes < sizeof c->tuple) { /* a part of JSON is none */
            memcpy(c->tuple, now.tuple.tuple, now.tuple.tuple_bytes);
        }
    }
    int fd = open(recorder.path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd >= 0) {
        ssize_t n = write(fd, &recorder.record, sizeof recorder.record);
        (void)n; /* cut short, it is not taken for one */
        close(fd);
    }
}

static void on_signal(int signal, siginfo_t *info, void *context)
{
    (void)context;
    bool raised = info->si_code > 0 || info->si_pid == getpid(); /* S1 */
    if (raised && now.instance != 0 && !now.crashed) {
        now.crashed = true;
        while (atomic_flag_test_and_set(&recorder.taken)) {
            pause(); /* another one's record is being written, and ends us all */
        }
        write_record(signal);
    }
    for (int k = 0; k < SIGNALS; k++) {
        if (signals[k] == signal) {
            sigaction(signal, &recorder.before[k], NULL);
        }
    }
    if (info->si_code <= 0) { /* else the instruction faults once more by itself */
        raise(signal);
    }
}

void crash_setup(const char *path, uint64_t incarnation)
{
    snprintf(recorder.path, sizeof recorder.path, "%s", path);
    recorder.incarnation = incarnation;
    struct sigaction a = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&a.sa_mask);
    for (int k = 0; k < SIGNALS; k++) {
        sigaction(signals[k], &a, &recorder.before[k]);
    }
    recorder.armed = true;
}

void crash_thread_begin(void)
{
    stack_t had;
    if (!recorder.armed || sigaltstack(NULL, &had) != 0 || (had.ss_flags & SS_DISABLE) == 0) {
        return; /* a sanitizer has given it one */
    }
    now.stack = mem_alloc(STACK_BYTES);
    stack_t own = {.ss_sp = now.stack, .ss_size = STACK_BYTES};
    sigaltstack(&own, NULL);
}

void crash_thread_end(void)
{
    if (now.stack != NULL) {
        stack_t none = {.ss_flags = SS_DISABLE};
        sigaltstack(&none, NULL);
        mem_free(now.stack);
        now.stack = NULL;
    }
}

void crash_call(uint64_t instance, const char *call)
{
    now.call = call;
    atomic_signal_fence(memory_order_seq_cst);
    now.instance = instance;
}

void crash_call_tuple(const struct crash_tuple *tuple)
{
    atomic_signal_fence(memory_order_seq_cst);
    now.tuple = tuple != NULL ? *tuple : (struct crash_tuple){0};
    atomic_signal_fence(memory_order_seq_cst);
}

bool crash_read(const char *path, struct crash *out)
{
    char *bytes = NULL;
    size_t count = 0;
    struct record r;
    bool there = file_read(path, 2 * sizeof r, &bytes, &count, NULL) == ERR_OK && count == sizeof r;
    if (there) {
        memcpy(&r, bytes, sizeof r);
        r.crash.call[sizeof r.crash.call - 1] = '\0';
        r.crash.stream[sizeof r.crash.stream - 1] = '\0';
        r.crash.tuple[sizeof r.crash.tuple - 1] = '\0';
        *out = r.crash;
    }
    mem_free(bytes);
    return there && r.magic == MAGIC && r.crash.instance != 0;
}
