/* tests/support/running_master.h - a master in this process, on a thread of its own. */
#ifndef OXB_TESTS_RUNNING_MASTER_H
#define OXB_TESTS_RUNNING_MASTER_H

#include "master/master.h"

#include <pthread.h>

struct running_master {
    char dir[64];
    struct master_options options;
    struct loop *loop;
    struct master *master;
    pthread_t thread;
    uint16_t control, http;
};
void running_make_dir(struct running_master *r); /* and short times, for tests */
void running_start(struct running_master *r);
void running_stop(struct running_master *r);
void running_remove_dir(struct running_master *r);

#endif
