/* pe/infer/cl/compiler.c - compiling kernels in a process of its own.
 *
 * Standard input: one line each: nice value to add, cache folder, name of the device, options; then
 * the source.  $OXBOW_COMPILER names another program than the worker's beside our own; empty: none.
 */
#include "pe/infer/cl/compiler.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/strbuf.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROGRAM "oxbow-worker"
#define REQUEST_BYTES_MAX (4u << 20)
#define PATH_BYTES 4096

/* ---- the caller's side */

/* The worker beside the running program, which mostly is that worker. */
static bool find_program(char out[PATH_BYTES])
{
    const char *given = getenv("OXBOW_COMPILER");
    if (given != NULL) {
        snprintf(out, PATH_BYTES, "%s", given);
        return given[0] != '\0' && access(out, X_OK) == 0;
    }
    ssize_t n = readlink("/proc/self/exe", out, PATH_BYTES - sizeof PROGRAM - 1);
    if (n <= 0) {
        return false;
    }
    out[n] = '\0';
    char *slash = strrchr(out, '/');
    if (slash == NULL) {
        return false;
    }
    memcpy(slash + 1, PROGRAM, sizeof PROGRAM);
    return access(out, X_OK) == 0;
}

/* A file without a name, so that nobody has to write to a pipe that nobody reads. */
static int request_file(const struct ocl_device *d, const struct ocl_program_request *r,
                        bool gently)
{
    struct strbuf text = {0};
    strbuf_printf(&text, "%d\n%s\n%s\n%s\n%s", gently ? COMPILER_NICE : 0, r->cache_dir, d->name,
                  r->options, r->source);
    int fd = memfd_create("oxbow-kernels", MFD_CLOEXEC);
    if (fd >= 0 &&
        (write(fd, text.data, text.bytes) != (ssize_t)text.bytes || lseek(fd, 0, SEEK_SET) != 0)) {
        close(fd);
        fd = -1;
    }
    strbuf_fini(&text);
    return fd;
}

static bool start(const char *program, int fd, pid_t *pid)
{
    char *argv[] = {(char *)(uintptr_t)program, (char *)(uintptr_t)COMPILER_FLAG, NULL};
    posix_spawn_file_actions_t files;
    if (posix_spawn_file_actions_init(&files) != 0) {
        return false;
    }
    int failed = posix_spawn_file_actions_adddup2(&files, fd, STDIN_FILENO);
    failed = failed != 0 ? failed : posix_spawn(pid, program, &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    return failed == 0;
}

static bool start_for(const char *program, const struct ocl_device *d,
                      const struct ocl_program_request *r, bool gently, pid_t *pid)
{
    int fd = request_file(d, r, gently);
    bool started = fd >= 0 && start(program, fd, pid);
    if (fd >= 0) {
        close(fd);
    }
    return started;
}

/* Return: has it ended, with its status in *status, before `end_us`? */
static bool wait_until(pid_t pid, uint64_t end_us, int *status)
{
    const struct timespec pause = {.tv_nsec = 2000000};
    pid_t ended = 0;
    while ((ended = waitpid(pid, status, WNOHANG)) == 0 && clock_now_us() < end_us) {
        nanosleep(&pause, NULL);
    }
    return ended == pid;
}

/* What was gentle until now goes on as the caller would.  Without the privilege to raise a
 * priority it begins anew. */
static bool hurry(const char *program, const struct ocl_device *d,
                  const struct ocl_program_request *r, pid_t *pid)
{
    int status = 0;
    if (setpriority(PRIO_PROCESS, (id_t)*pid, getpriority(PRIO_PROCESS, 0)) == 0) {
        return true;
    }
    kill(*pid, SIGKILL);
    (void)waitpid(*pid, &status, 0);
    return start_for(program, d, r, false, pid);
}

bool compiler_run(const struct ocl_device *d, const struct ocl_program_request *r)
{
    char program[PATH_BYTES];
    pid_t pid = -1;
    int status = -1;
    if (r->cache_dir == NULL || !find_program(program)) {
        return false;
    }
    bool gently = clock_now_us() < r->gently_until_us;
    bool started = start_for(program, d, r, gently, &pid), ended = false;
    if (started && gently) {
        ended = wait_until(pid, r->gently_until_us, &status);
        started = ended || hurry(program, d, r, &pid);
    }
    while (started && !ended && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    bool ok = started && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!ok) {
        log_event(LOG_WARN, "infer.compiler", "program=%s status=%d action=\"compiled here\"",
                  program, status);
    }
    return ok;
}

/* ---- the program's side */

static char *read_all(void)
{
    struct strbuf text = {0};
    char part[16384];
    ssize_t n;
    while ((n = read(STDIN_FILENO, part, sizeof part)) > 0 && text.bytes < REQUEST_BYTES_MAX) {
        strbuf_add(&text, part, (size_t)n);
    }
    char *all = n == 0 ? strbuf_take(&text) : NULL;
    strbuf_fini(&text);
    return all;
}

/* The next line, cut out of what is left; NULL: there is none. */
static const char *line_of(char **rest)
{
    char *line = *rest, *end = strchr(line, '\n');
    if (end == NULL) {
        return NULL;
    }
    *end = '\0';
    *rest = end + 1;
    return line;
}

static struct ocl_device *device_named(struct ocl_devices *all, const char *name)
{
    for (size_t i = 0; i < ocl_devices_count(all); i++) {
        if (strcmp(ocl_devices_at(all, i)->name, name) == 0) {
            return ocl_devices_at(all, i);
        }
    }
    return NULL;
}

int compiler_main(void)
{
    struct fail f = {0};
    cl_program program = NULL;
    char *text = read_all(), *rest = text;
    const char *nice_by = text != NULL ? line_of(&rest) : NULL;
    const char *dir = nice_by != NULL ? line_of(&rest) : NULL;
    const char *name = dir != NULL ? line_of(&rest) : NULL;
    const char *options = name != NULL ? line_of(&rest) : NULL;
    if (options == NULL) {
        fprintf(stderr, "error: this is no request; started by hand?\n");
        mem_free(text);
        return 2;
    }
    (void)!nice(atoi(nice_by));
    struct ocl_devices *all = ocl_devices_ref(NULL);
    struct ocl_device *d = device_named(all, name);
    struct ocl_program_request r = {.source = rest, .options = options, .cache_dir = dir};
    enum err e = d != NULL ? ocl_program_build(d, &r, &program, NULL, &f)
                           : fail_set(&f, ERR_NOTFOUND, "", "no device %s", name);
    if (e == ERR_OK) {
        clReleaseProgram(program);
    } else {
        fprintf(stderr, "error: %s\n", f.what);
    }
    ocl_devices_unref(all);
    mem_free(text);
    return e == ERR_OK ? 0 : 1;
}
