/* worker/checkpoint_own.h - the inside of saving, for worker/checkpoint*.c only.
 *
 * The lock of struct saver guards the queue, `keeper` and `reading` of every job, and of a keeper
 * its job and chain. */
#ifndef OXB_WORKER_CHECKPOINT_OWN_H
#define OXB_WORKER_CHECKPOINT_OWN_H

#include "core/limits.h"
#include "pe/host.h"
#include "pe/state.h"
#include "worker/checkpoint.h"
#include "worker/hold.h"

#include <pthread.h>

struct save_state { /* one keyed table */
    char *name;
    struct state_reader *reader; /* the keeper's; H2 */
    bool groups[KEY_GROUPS];
};

struct save_job {
    struct save_job *next;
    struct keeper *keeper; /* NULL: given up */
    bool reading;          /* the saver is inside a table */
    struct saved result;   /* epochs: those before this one */
    char *uid, *location;
    unsigned index, parallelism;
    uint32_t state_version;
    bool finished;         /* the instance had ended before the marker */
    bool has_file;         /* there is something to save */
    struct pe_snapshot own;
    struct kept *kept; /* [kept_count]: shares */
    size_t kept_count;
    struct save_state *states;
    unsigned state_count;
    uint64_t begun_us;
};

struct sweep_job { /* of a folder */
    struct sweep_job *next;
    char *location, *topology;
    uint64_t *needed;
    size_t count;
    uint64_t below;
};

struct keeper {
    struct saver *saver;
    char *topology, *location;
    _Atomic uint64_t gen;
    struct state_reader **readers; /* [reader_count]; the instance's thread */
    unsigned reader_count;
    /* under the saver's lock */
    struct save_job *job;
    uint64_t *chain;
    size_t chain_count;
    uint64_t base_bytes, delta_bytes;
};

struct saver {
    struct saver_options o;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    struct save_job *first, *last;
    struct sweep_job *sweeps;
    struct save_job *done; /* results on their way to the loop */
    struct save_job *again; /* the loop's: wills to be tried once more */
    bool stopping;
};

void saver_put(struct saver *s, struct save_job *job TAKES);
/* save_write - the whole file of a job, durably.  ERR_STALE: it was given up. */
MUST_CHECK enum err save_write(struct saver *s, struct save_job *job, struct fail *f);
void save_job_free(struct save_job *job);

#endif
