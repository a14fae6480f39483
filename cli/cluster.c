/* cli/cluster.c - a whole local cluster as child processes: one master, some workers.
 *
 * Why:        workers print their one `ready` line and the tuples of stdout-sink on the same
 *             stdout, so it comes here by a pipe and goes on in whole lines.
 * See:        tests/unit/cli/cluster_test.c */
#include "cli/cluster.h"

#include "core/clock.h"
#include "core/file.h"
#include "core/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_MS_MAX 15000
#define READ_BYTES 65536u
#define LINE_BYTES_MAX (1u << 20) /* a longer one goes on in pieces */
#define LOG_TAIL_BYTES 8192
#define LOG_LINES 12

/* ---- starting ---- */

static char *program_path(const char *program, const char *name)
{
    const char *slash = strrchr(program, '/');
    if (slash != NULL) {
        char *sibling = mem_printf("%.*s/%s", (int)(slash - program), program, name);
        if (access(sibling, X_OK) == 0) {
            return sibling;
        }
        mem_free(sibling);
    }
    return mem_dup(name); /* execvp looks in $PATH */
}

/* run_child - in the forked process: never returns. */
static _Noreturn void run_child(pid_t parent, char *const *argv, int out_fd, int log_fd)
{
    setpgid(0, 0);                    /* K2 */
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* K1 */
    if (getppid() != parent) {
        _exit(127);
    }
    signal(SIGPIPE, SIG_DFL);
    int null_fd = open("/dev/null", O_RDONLY);
    dup2(null_fd, STDIN_FILENO);
    dup2(out_fd, STDOUT_FILENO);
    dup2(log_fd, STDERR_FILENO);
    execvp(argv[0], argv);
    dprintf(STDERR_FILENO, "cannot run %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static enum err spawn(struct cluster *c, struct child *child, char *const *argv, struct fail *f)
{
    int pipe_fds[2];
    child->log_path = mem_printf("%s/%s.log", c->data, child->name);
    int log_fd = open(child->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0) {
        return fail_set(f, ERR_IO, "check the folder's permissions", "cannot create %s: %s",
                        child->log_path, strerror(errno));
    }
    if (pipe2(pipe_fds, O_CLOEXEC) != 0) {
        close(log_fd);
        return fail_set(f, ERR_IO, "close other programs", "cannot make a pipe: %s",
                        strerror(errno));
    }
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        run_child(parent, argv, pipe_fds[1], log_fd);
    }
    close(log_fd);
    close(pipe_fds[1]);
    if (pid < 0) {
        close(pipe_fds[0]);
        return fail_set(f, ERR_IO, "close other programs", "cannot start a process: %s",
                        strerror(errno));
    }
    child->pid = pid;
    child->out_fd = pipe_fds[0];
    return ERR_OK;
}

static enum err start_master(struct cluster *c, const struct cluster_options *o, struct fail *f)
{
    char *program = program_path(o->program, "oxbow-master");
    char *data = mem_printf("%s/master", c->data);
    const char *http = o->http != NULL ? o->http : "127.0.0.1:0";
    char *const argv[] = {
        program,          (char *)"--data", data, (char *)"--listen", (char *)"127.0.0.1:0",
        (char *)"--http", (char *)http,     NULL};
    enum err e = spawn(c, &c->children[0], argv, f);
    mem_free(program);
    mem_free(data);
    return e;
}

static enum err start_worker(struct cluster *c, const struct cluster_options *o,
                             struct child *child, struct fail *f)
{
    char *program = program_path(o->program, "oxbow-worker");
    char *data = mem_printf("%s/%s", c->data, child->name);
    char *const argv[] = {program,
                          (char *)"--master",
                          c->control,
                          (char *)"--name",
                          child->name,
                          (char *)"--data",
                          data,
                          (char *)"--listen",
                          (char *)"127.0.0.1:0",
                          NULL};
    enum err e = spawn(c, child, argv, f);
    mem_free(program);
    mem_free(data);
    return e;
}

static bool are_ready(const struct cluster *c)
{
    for (unsigned i = 0; i < c->child_count; i++) {
        if (c->children[i].pid != 0 && !c->children[i].ready) {
            return false;
        }
    }
    return true;
}

/* wait_ready - until every child started so far has printed its ready line. */
static enum err wait_ready(struct cluster *c, const struct cluster_options *o, struct fail *f)
{
    uint64_t started_us = clock_now_us();
    while (!are_ready(c)) {
        cluster_pump(c, 50);
        const struct child *dead = cluster_dead(c);
        if (dead != NULL) {
            char *how = child_end_text(dead);
            fail_set(f, ERR_IO, "its last lines are above", "%s %s before it was ready", dead->name,
                     how);
            mem_free(how);
            return ERR_IO;
        }
        if (*o->interrupts > 0) {
            return fail_set(f, ERR_IO, "", "interrupted while the cluster was starting");
        }
        if (clock_now_us() - started_us > READY_MS_MAX * UINT64_C(1000)) {
            return fail_set(f, ERR_TIMEOUT, "its last lines are above",
                            "the cluster was not ready within %d s", READY_MS_MAX / 1000);
        }
    }
    return ERR_OK;
}

static enum err make_data(struct cluster *c, const char *data, struct fail *f)
{
    if (data != NULL) {
        char *file = mem_printf("%s/master", data);
        c->data = file_dir_of(file); /* absolute */
        mem_free(file);
        return file_make_dirs(c->data, f);
    }
    const char *base = getenv("TMPDIR");
    c->data = mem_printf("%s/oxbow-run-XXXXXX", base != NULL && base[0] == '/' ? base : "/tmp");
    if (mkdtemp(c->data) == NULL) {
        mem_free(c->data);
        c->data = NULL;
        return fail_set(f, ERR_IO, "set TMPDIR or give --data",
                        "cannot make a temporary folder: %s", strerror(errno));
    }
    c->temporary = true;
    return ERR_OK;
}

enum err cluster_start(struct cluster *c, const struct cluster_options *o, struct fail *f)
{
    memset(c, 0, sizeof *c);
    enum err e = make_data(c, o->data, f);
    if (e != ERR_OK) {
        return e;
    }
    c->child_count = 1 + o->workers;
    c->children = mem_array(c->child_count, sizeof *c->children);
    for (unsigned i = 0; i < c->child_count; i++) {
        c->children[i].out_fd = -1;
        snprintf(c->children[i].name, sizeof c->children[i].name, i == 0 ? "master" : "w%u", i);
    }
    e = start_master(c, o, f);
    if (e == ERR_OK) {
        e = wait_ready(c, o, f);
    }
    for (unsigned i = 1; i < c->child_count && e == ERR_OK; i++) {
        e = start_worker(c, o, &c->children[i], f);
    }
    return e == ERR_OK ? wait_ready(c, o, f) : e;
}

/* ---- running ---- */

char *cluster_ready_value(const char *line, const char *key)
{
    size_t bytes = strlen(key);
    for (const char *p = strchr(line, ' '); p != NULL; p = strchr(p, ' ')) {
        p++;
        if (strncmp(p, key, bytes) == 0 && p[bytes] == '=') {
            return mem_dup_n(p + bytes + 1, strcspn(p + bytes + 1, " \r\n"));
        }
    }
    return NULL;
}

static void on_ready(struct cluster *c, struct child *child, const char *line)
{
    child->ready = true;
    if (child == &c->children[0]) {
        char *http = cluster_ready_value(line, "http");
        c->control = cluster_ready_value(line, "control");
        c->url = mem_printf("http://%s", http != NULL ? http : "");
        mem_free(http);
        if (c->control == NULL) {
            c->control = mem_dup("");
        }
    }
}

static void on_line(struct cluster *c, struct child *child, const char *line, size_t bytes)
{
    if (!child->ready && bytes > 6 && memcmp(line, "ready ", 6) == 0) {
        char *text = mem_dup_n(line, bytes);
        on_ready(c, child, text);
        mem_free(text);
    } else if (child != &c->children[0]) {
        strbuf_add(&c->output, line, bytes);
    }
}

/* take_lines - hand on the whole lines in child->line; all of it when `last`. */
static void take_lines(struct cluster *c, struct child *child, bool last)
{
    struct strbuf *b = &child->line;
    size_t from = 0;
    while (from < b->bytes) {
        const char *end = memchr(b->data + from, '\n', b->bytes - from);
        if (end == NULL && !last && b->bytes - from < LINE_BYTES_MAX) {
            break;
        }
        size_t bytes = end != NULL ? (size_t)(end - (b->data + from)) + 1 : b->bytes - from;
        on_line(c, child, b->data + from, bytes);
        from += bytes;
    }
    if (from > 0) {
        memmove(b->data, b->data + from, b->bytes - from);
        b->bytes -= from;
    }
}

static void read_child(struct cluster *c, struct child *child)
{
    char data[READ_BYTES];
    ssize_t n = read(child->out_fd, data, sizeof data);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
        return;
    }
    if (n <= 0) {
        close(child->out_fd);
        child->out_fd = -1;
    } else {
        strbuf_add(&child->line, data, (size_t)n);
    }
    take_lines(c, child, n <= 0);
}

static void reap(struct cluster *c)
{
    for (unsigned i = 0; i < c->child_count; i++) {
        struct child *child = &c->children[i];
        if (child->pid != 0 && waitpid(child->pid, &child->status, WNOHANG) == child->pid) {
            child->pid = 0;
            child->ended = true;
        }
    }
}

void cluster_pump(struct cluster *c, int timeout_ms)
{
    struct pollfd *fds = mem_array(c->child_count, sizeof *fds);
    for (unsigned i = 0; i < c->child_count; i++) {
        fds[i].fd = c->children[i].out_fd; /* -1 is skipped by poll */
        fds[i].events = POLLIN;
    }
    if (poll(fds, c->child_count, timeout_ms) > 0) {
        for (unsigned i = 0; i < c->child_count; i++) {
            if (c->children[i].out_fd >= 0 && fds[i].revents != 0) {
                read_child(c, &c->children[i]);
            }
        }
    }
    mem_free(fds);
    reap(c);
}

const struct child *cluster_dead(const struct cluster *c)
{
    for (unsigned i = 0; i < c->child_count; i++) {
        if (c->children[i].ended) {
            return &c->children[i];
        }
    }
    return NULL;
}

char *child_end_text(const struct child *child)
{
    if (WIFSIGNALED(child->status)) {
        int number = WTERMSIG(child->status);
        return mem_printf("was killed by signal %d (%s)", number, strsignal(number));
    }
    return mem_printf("ended with status %d", WEXITSTATUS(child->status));
}

/* is_chatter - a line of the logger (`time level program ...`) of level info or debug. */
static bool is_chatter(const char *line, size_t bytes)
{
    const char *level = memchr(line, ' ', bytes);
    return level != NULL && (strncmp(level, " info ", 6) == 0 || strncmp(level, " debug ", 7) == 0);
}

static void print_lines(const char *text, const char *name, bool problems, FILE *out)
{
    bool titled = false;
    while (*text != '\0') {
        size_t bytes = strcspn(text, "\n");
        if (bytes > 0 && !(problems && is_chatter(text, bytes))) {
            if (!titled) {
                fprintf(out, "last lines of %s:\n", name);
            }
            fprintf(out, "  %.*s\n", (int)bytes, text);
            titled = true;
        }
        text += bytes + (text[bytes] == '\n' ? 1 : 0);
    }
}

static void print_tail(const struct child *child, bool problems, FILE *out)
{
    char tail[LOG_TAIL_BYTES + 1];
    struct stat s;
    int fd = child->log_path != NULL ? open(child->log_path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
        return;
    }
    off_t from = fstat(fd, &s) == 0 && s.st_size > LOG_TAIL_BYTES ? s.st_size - LOG_TAIL_BYTES : 0;
    ssize_t bytes = pread(fd, tail, LOG_TAIL_BYTES, from);
    close(fd);
    if (bytes <= 0) {
        return;
    }
    tail[bytes] = '\0';
    char *start = tail + bytes;
    unsigned line_ends = 0;
    while (start > tail) { /* back to behind the line end before the last LOG_LINES lines */
        line_ends += start[-1] == '\n' ? 1 : 0;
        if (line_ends > LOG_LINES) {
            break;
        }
        start--;
    }
    print_lines(start, child->name, problems, out);
}

void cluster_logs(const struct cluster *c, const struct child *child, bool problems, FILE *out)
{
    for (unsigned i = 0; i < c->child_count; i++) {
        if (child == NULL || child == &c->children[i]) {
            print_tail(&c->children[i], problems, out);
        }
    }
}

/* ---- ending ---- */

static bool is_running(const struct cluster *c, unsigned from)
{
    for (unsigned i = from; i < c->child_count; i++) {
        if (c->children[i].pid != 0 || c->children[i].out_fd >= 0) {
            return true;
        }
    }
    return false;
}

static void signal_all(const struct cluster *c, unsigned from, int number)
{
    for (unsigned i = from; i < c->child_count; i++) {
        if (c->children[i].pid != 0) {
            kill(c->children[i].pid, number);
        }
    }
}

static void end_from(struct cluster *c, unsigned from, unsigned grace_ms)
{
    uint64_t started_us = clock_now_us();
    signal_all(c, from, SIGTERM);
    while (is_running(c, from) && clock_now_us() - started_us < grace_ms * UINT64_C(1000)) {
        cluster_pump(c, 10);
    }
    signal_all(c, from, SIGKILL);
    for (unsigned i = from; i < c->child_count; i++) {
        struct child *child = &c->children[i];
        if (child->pid != 0) {
            waitpid(child->pid, &child->status, 0);
            child->pid = 0;
            child->ended = true;
        }
        if (child->out_fd >= 0) { /* a grandchild may still hold it open: do not wait for that */
            close(child->out_fd);
            child->out_fd = -1;
            take_lines(c, child, true);
        }
    }
}

void cluster_stop(struct cluster *c, unsigned grace_ms)
{
    if (c->child_count > 0) {
        end_from(c, 1, grace_ms); /* the workers first: they still have a master to tell */
        end_from(c, 0, grace_ms);
    }
}

static int remove_entry(const char *path, const struct stat *s, int kind, struct FTW *ftw)
{
    (void)s;
    (void)kind;
    (void)ftw;
    (void)remove(path);
    return 0;
}

void cluster_fini(struct cluster *c)
{
    for (unsigned i = 0; i < c->child_count; i++) {
        mem_free(c->children[i].log_path);
        strbuf_fini(&c->children[i].line);
    }
    if (c->temporary) {
        nftw(c->data, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    }
    mem_free(c->children);
    mem_free(c->control);
    mem_free(c->url);
    mem_free(c->data);
    strbuf_fini(&c->output);
    memset(c, 0, sizeof *c);
}
