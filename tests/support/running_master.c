/* tests/support/running_master.c - a master in this process, on a thread of its own. */
#include "tests/support/running_master.h"

#include "core/limits.h"
#include "core/log.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void *body(void *arg)
{
    struct running_master *r = arg;
    loop_run(r->loop);
    return NULL;
}

void running_make_dir(struct running_master *r)
{
    log_setup("test", LOG_ERROR); /* $OXBOW_LOG=info shows the conversation */
    *r = (struct running_master){.options = MASTER_OPTIONS_DEFAULT};
    const char *tmp = getenv("TMPDIR");
    snprintf(r->dir, sizeof r->dir, "%s/oxbow-master-XXXXXX",
             tmp != NULL && strlen(tmp) < 30 ? tmp : "/tmp");
    assert_non_null(mkdtemp(r->dir));
    r->options.data = r->dir;
    r->options.listen.port = r->options.http.port = 0;
    r->options.lost_ms = 400;
    r->options.rejoin_ms = 1500;
    r->options.prepare_ms = 1500;
    r->options.request_ms = 1000;
}

void running_start(struct running_master *r)
{
    struct fail f = {0};
    r->loop = loop_new();
    assert_non_null(r->loop);
    r->master = master_new(r->loop, &r->options, &f);
    if (r->master == NULL) {
        fail_msg("%s", f.what);
    }
    r->control = listener_port(r->master->listener);
    r->http = http_port(r->master->http);
    assert_int_equal(pthread_create(&r->thread, NULL, body, r), 0);
}

void running_stop(struct running_master *r)
{
    loop_quit(r->loop);
    pthread_join(r->thread, NULL);
    master_free(r->master);
    loop_free(r->loop);
    r->master = NULL;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void running_remove_dir(struct running_master *r)
{
    nftw(r->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}
