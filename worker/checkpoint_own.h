/* worker/checkpoint_own.h - the inside of saving, for worker/checkpoint*.c only.
 *
 * The lock of struct saver guards its lists, of every job `keeper` and what says so, and of a
 * keeper its job, chain and spans. */
#ifndef OXB_WORKER_CHECKPOINT_OWN_H
#define OXB_WORKER_CHECKPOINT_OWN_H

#include "core/limits.h"
#include "core/strbuf.h"
#include "pe/host.h"
#include "pe/state.h"
#include "worker/checkpoint.h"
#include "worker/hold.h"

#include <pthread.h>

struct writing;

struct save_piece { /* as state_reader_slice wrote it */
    struct save_piece *next;
    unsigned state, group;
    struct strbuf bytes;
};

struct save_state { /* one keyed table, at the marker */
    char *name;
    bool groups[KEY_GROUPS];       /* pieces of them are told */
    bool whole[KEY_GROUPS];        /* of these: all entries */
    uint32_t entries[KEY_GROUPS];  /* that the group has */
    uint64_t versions[KEY_GROUPS]; /* that it is brought to; valid once all is told */
};

struct save_job {
    struct save_job *next;
    struct saved result;
    char *uid, *location;
    unsigned index, parallelism;
    uint32_t state_version;
    bool finished; /* the instance had ended before the marker */
    bool has_file; /* there is something to save */
    bool aside[KEY_GROUPS], has_aside; /* whose final output has left: worker/aside.h */
    struct pe_snapshot own;
    struct kept *kept; /* [kept_count]: shares */
    size_t kept_count;
    struct save_state *states;
    unsigned state_count;
    uint64_t begun_us;
    /* under the lock */
    struct keeper *keeper;     /* NULL: given up, or a will */
    struct instance *instance; /* valid while there is a keeper */
    struct save_piece *first, *last;
    size_t ahead; /* bytes told and not yet written */
    bool all_told;
    bool wants_room; /* the instance waits until less is ahead */
    bool begun;      /* its pieces are written as they come */
    bool waking;     /* it is in the saver's list `wakes` */
    struct save_job *next_wake;
    /* the saver's thread */
    struct writing *writing; /* begun; NULL: not yet */
};

struct sweep_job { /* of a folder */
    struct sweep_job *next;
    char *location, *topology;
    uint64_t *needed;
    size_t count;
    uint64_t below;
};

struct span { /* the files a group is in: from its last whole copy to its newest piece */
    uint64_t whole, newest;
};

struct keeper {
    struct saver *saver;
    char *topology, *location;
    _Atomic uint64_t gen;
    /* the instance's thread */
    struct state_reader **readers; /* [reader_count] */
    unsigned reader_count;
    uint32_t *deltas; /* [reader_count][KEY_GROUPS]: entries told since the whole copy */
    uint64_t taken;   /* checkpoints */
    bool telling;     /* there are pieces left to tell */
    unsigned state;   /* whose */
    uint64_t turn_us; /* end of the last turn of it */
    /* under the saver's lock */
    struct save_job *job;
    uint64_t *chain; /* [chain_count]: files, oldest first */
    size_t chain_count;
    struct span *spans; /* [reader_count][KEY_GROUPS] */
};

struct saver {
    struct saver_options o;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct save_job *first, *last;
    struct save_job *wakes;   /* whose instances may go on telling */
    struct save_piece *spare; /* [spare_count]: to be filled again */
    unsigned spare_count;
    size_t ahead;   /* of all jobs */
    unsigned begun; /* jobs that are being written and not all told */
    struct sweep_job *sweeps;
    struct save_job *done;  /* results on their way to the loop */
    struct save_job *again; /* the loop's: wills to be tried once more */
    bool stopping;
};

void saver_put(struct saver *s, struct save_job *job TAKES);
/* saver_tell - a piece of a job that has its keeper.  Requires: lock. */
void saver_tell(struct saver *s, struct save_job *job, struct save_piece *piece TAKES);
struct save_piece *saver_piece(struct saver *s);            /* an empty one.  Requires: lock */
bool saver_has_room(struct saver *s, struct save_job *job); /* to tell more?  Requires: lock */
void save_job_free(struct save_job *job);

/* ---- checkpoint_write.c: the saver's thread ---- */
/* writing_begin - open the file and write all that comes before the tables. */
MUST_CHECK enum err writing_begin(struct saver *s, struct save_job *job, struct fail *f);
MUST_CHECK enum err writing_add(struct save_job *job, const struct save_piece *piece,
                                struct fail *f);
/* writing_end - durable when it returns ERR_OK. */
MUST_CHECK enum err writing_end(struct save_job *job, struct fail *f);
void writing_free(struct writing *w); /* accepts NULL */

#endif
