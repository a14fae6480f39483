/* worker/worker.c - putting a worker together and taking it apart. */
#include "worker/worker.h"

#include "core/file.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/prompt.h"
#include "worker/agent.h"
#include "worker/crash.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { POOL_CACHED_BYTES = 64 << 20, HALT_MS = 5000 };

struct worker {
    struct loop *loop;
    struct pool *pool;
    struct executors *executors;
    struct links *links;
    struct agent *agent;
    struct timer *deadline;
    char *name, *data_dir, *crash_path;
    int lock; /* of data_dir; -1: not held */
    struct address listen; /* of the peer listener; the agent borrows its host */
    bool stuck; /* some PE did not return: leave its memory alone */
};

static void links_go(void *arg, const struct msg_LINK_GO *m)
{
    struct worker *w = arg;
    agent_go_from_peer(w->agent, m);
}

static void links_open(void *arg)
{
    struct worker *w = arg;
    agent_links_open(w->agent);
}

static void links_drained(void *arg)
{
    struct worker *w = arg;
    agent_links_drained(w->agent);
}

static void links_state(void *arg, const struct msg_LINK_STATE *m)
{
    struct worker *w = arg;
    agent_state(w->agent, m);
}

static void links_state_ack(void *arg, const struct msg_LINK_STATE_ACK *m)
{
    struct worker *w = arg;
    agent_state_ack(w->agent, m);
}

static void links_peer(void *arg)
{
    struct worker *w = arg;
    agent_peer_up(w->agent);
}

static enum err name_and_dir(struct worker *w, const struct oxb_worker_options *o, struct fail *f)
{
    if (o->name != NULL) {
        w->name = mem_dup(o->name);
    } else {
        char host[48] = "worker";
        gethostname(host, sizeof host - 1);
        host[strcspn(host, ".")] = '\0';
        for (char *p = host; *p != '\0'; p++) {
            *p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32)
                 : (*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') ? *p : '-';
        }
        w->name = mem_printf("%s-%ld", host[0] >= 'a' ? host : "worker", (long)getpid());
    }
    char *dir = o->data != NULL ? mem_dup(o->data) : mem_printf("oxbow-data/%s", w->name);
    char cwd[PATH_BYTES_MAX];
    w->data_dir = file_join(getcwd(cwd, sizeof cwd) != NULL ? cwd : ".", dir);
    mem_free(dir);
    enum err e = file_make_dirs(w->data_dir, f);
    return e == ERR_OK ? file_lock(w->data_dir, "give each worker its own --data", &w->lock, f) : e;
}

struct worker *worker_new(const struct oxb_worker_options *o, const struct worker_callbacks *cb,
                          struct fail *f)
{
    static const struct links_ops ops = {
        .on_go = links_go,       .on_open = links_open,
        .on_drained = links_drained, .on_state = links_state,
        .on_state_ack = links_state_ack, .on_peer = links_peer};
    struct worker *w = mem_alloc(sizeof *w);
    w->lock = -1;
    struct agent_options ao = {.slots = o->slots != 0 ? o->slots : SLOTS_DEFAULT,
                               .labels = o->labels,
                               .callbacks = *cb};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    ao.threads = o->threads != 0 ? o->threads : (unsigned)(cores > 0 ? cores : 1);
    ao.threads = ao.threads < EXECUTORS_MAX ? ao.threads : EXECUTORS_MAX;
    if (address_parse(o->master, &ao.master, f) != ERR_OK ||
        address_parse(o->listen != NULL ? o->listen : "127.0.0.1:0", &w->listen, f) != ERR_OK ||
        name_and_dir(w, o, f) != ERR_OK) {
        worker_free(w);
        return NULL;
    }
    w->loop = loop_new();
    w->pool = pool_new(POOL_CACHED_BYTES);
    w->links = links_new(w->loop, w->pool, &w->listen, &ops, w, f);
    if (w->links == NULL) {
        worker_free(w);
        return NULL;
    }
    if (getrandom(&ao.incarnation, sizeof ao.incarnation, 0) != sizeof ao.incarnation) {
        ao.incarnation = (uint64_t)getpid();
    }
    w->crash_path = file_join(w->data_dir, "crash");
    if (cb->on_renew != NULL) { /* the process is ours: nobody else catches its signals */
        crash_setup(w->crash_path, ao.incarnation);
    }
    w->executors = executors_new(ao.threads);
    links_identity(w->links, w->name, ao.incarnation);
    ao.loop = w->loop;
    ao.pool = w->pool;
    ao.executors = w->executors;
    ao.links = w->links;
    ao.name = w->name;
    ao.data_dir = w->data_dir;
    ao.listen_host = w->listen.host;
    ao.crash_path = w->crash_path;
    w->agent = agent_new(&ao, f); /* reads what is there */
    if (w->agent == NULL) {
        worker_free(w);
        return NULL;
    }
    return w;
}

static void on_idle(void *arg)
{
    struct worker *w = arg;
    loop_quit(w->loop);
}

static void on_stuck(void *arg)
{
    struct worker *w = arg;
    log_event(LOG_ERROR, "worker.stuck", "a PE did not return within %d ms", HALT_MS);
    w->stuck = true;
    loop_quit(w->loop);
}

static void quit_on_loop(void *arg)
{
    struct worker *w = arg;
    if (w->deadline == NULL) {
        w->deadline = timer_new(w->loop, on_stuck, w);
        timer_set(w->deadline, HALT_MS, false);
        agent_halt(w->agent, on_idle, w);
    }
}

void worker_quit(struct worker *w)
{
    loop_post(w->loop, quit_on_loop, w);
}

void worker_run(struct worker *w)
{
    prompt_thread(PROMPT_LOOP_US);
    loop_run(w->loop);
}

void worker_free(struct worker *w)
{
    if (w == NULL || w->stuck) {
        return; /* a thread still runs foreign code: the process ends with it */
    }
    agent_free(w->agent);
    links_free(w->links);
    if (w->deadline != NULL) {
        timer_free(w->deadline);
    }
    executors_free(w->executors);
    if (w->loop != NULL) {
        loop_free(w->loop);
    }
    if (w->pool != NULL) {
        pool_free(w->pool);
    }
    if (w->lock >= 0) {
        close(w->lock);
    }
    mem_free(w->name);
    mem_free(w->data_dir);
    mem_free(w->crash_path);
    mem_free(w);
}
