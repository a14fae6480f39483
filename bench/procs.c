/* bench/procs.c - starting programs, waiting for them, and reading what they say. */
#include "bench/procs.h"

#include "core/clock.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define POLL_NS 2000000L

static void poll_pause(void)
{
    struct timespec t = {0, POLL_NS};
    nanosleep(&t, NULL);
}

pid_t proc_start(const char *const argv[], const char *log)
{
    pid_t pid = fork();
    if (pid != 0) {
        return pid;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* nothing outlives the measurement */
    int out = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (out >= 0 && in >= 0 && dup2(in, 0) == 0 && dup2(out, 1) == 1 && dup2(out, 2) == 2) {
        execv(argv[0], (char *const *)argv);
    }
    _exit(127);
}

static int wait_until(pid_t pid, uint64_t deadline_ns)
{
    int status;
    for (;;) {
        pid_t got = waitpid(pid, &status, WNOHANG);
        if (got == pid) {
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        if (got < 0 || clock_now_ns() > deadline_ns) {
            return -1;
        }
        poll_pause();
    }
}

int proc_wait(pid_t pid, unsigned seconds)
{
    int status = wait_until(pid, clock_now_ns() + seconds * UINT64_C(1000000000));
    if (status == -1) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    return status;
}

void proc_end(pid_t pid)
{
    if (pid > 0) {
        kill(pid, SIGTERM);
        proc_wait(pid, 2);
    }
}

static bool find_ready(const char *log, const char *key, char *out, size_t bytes)
{
    char line[1024];
    bool found = false;
    FILE *f = fopen(log, "re");
    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL) {
        const char *at = strncmp(line, "ready", 5) == 0 ? strstr(line, key) : NULL;
        if (at != NULL && strchr(line, '\n') != NULL) {
            at += strlen(key);
            snprintf(out, bytes, "%.*s", (int)strcspn(at, " \n"), at);
            found = true;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return found;
}

bool proc_said(const char *log, const char *key, char *out, size_t bytes, unsigned seconds)
{
    uint64_t deadline = clock_now_ns() + seconds * UINT64_C(1000000000);
    while (!find_ready(log, key, out, bytes)) {
        if (clock_now_ns() > deadline) {
            return false;
        }
        poll_pause();
    }
    return true;
}

double proc_cpu_ns(pid_t pid)
{
    clockid_t clock;
    struct timespec t;
    if (pid <= 0 || clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0) {
        return 0;
    }
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

double cores_busy_ns(void)
{
    /* user, nice, system, idle, iowait, irq, softirq, steal: proc(5) */
    unsigned long long v[8] = {0};
    FILE *f = fopen("/proc/stat", "re");
    int n = f == NULL ? 0
                      : fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1],
                               &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]);
    if (f != NULL) {
        fclose(f);
    }
    if (n != 8) {
        return 0;
    }
    return (double)(v[0] + v[1] + v[2] + v[5] + v[6] + v[7]) * 1e9 / (double)sysconf(_SC_CLK_TCK);
}

void log_tail(const char *log, char *out, size_t bytes)
{
    char line[512];
    FILE *f = fopen(log, "re");
    snprintf(out, bytes, "no output");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        size_t len = strcspn(line, "\n");
        if (len > 0) {
            snprintf(out, bytes, "%.*s", (int)len, line);
        }
    }
    if (f != NULL) {
        fclose(f);
    }
}
