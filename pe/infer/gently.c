/* pe/infer/gently.c - work that must not be felt by the stream: on a thread of low priority. */
#include "pe/infer/gently.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

struct call {
    gently_fn fn;
    void *arg;
    struct fail *fail;
    enum err result;
};

static void *thread_main(void *arg)
{
    struct call *c = arg;
    (void)pthread_setname_np(pthread_self(), "oxb-gently");
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), GENTLY_NICE); /* Linux: of the thread */
    c->result = c->fn(c->arg, c->fail);
    return NULL;
}

enum err gently_run(gently_fn fn, void *arg, struct fail *f)
{
    struct call c = {.fn = fn, .arg = arg, .fail = f, .result = ERR_OK};
    pthread_t thread;
    if (pthread_create(&thread, NULL, thread_main, &c) != 0) {
        return fn(arg, f);
    }
    pthread_join(thread, NULL);
    return c.result;
}
