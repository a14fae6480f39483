/* worker/checkpoint.h - saving instances at a checkpoint's marker, beside the flow.
 *
 * Owns:       struct keeper: what of one instance was saved, and how far; struct saver: the thread
 *             that compresses and stores.
 * Threads:    keeper_take, _turn, _forget: the instance's, between two batches; keeper_new and
 *             _free: the loop's or its helpers', while the instance does not run.  Results come
 *             back on the loop.
 * Life of one: marker -> keeper_take: own state by `snapshot`, keyed state frozen -> the instance
 *             passes the marker on and works; between its batches it tells the saver what was
 *             frozen, piece by piece -> stored durably -> on_saved.
 * A file:     has of a table what was written since the file before it, and some groups whole: so
 *             the cost follows what changes, and the files that a restore needs stay few.
 * Invariants: H1 on_saved says ok only after what it names is durable: the snapshot's file and
 *             folder, and every file the PE wants synced (PROTOCOL R18).
 *             H2 only the instance's thread looks at its tables; what it has told and is not yet
 *             stored is bounded, by job and in all.
 *             H3 a delta follows a file that is stored; after any failure the next one is whole.
 *             H4 kept input is whole in every file: only the last one's counts. */
#ifndef OXB_WORKER_CHECKPOINT_H
#define OXB_WORKER_CHECKPOINT_H

#include "net/conn.h"

struct instance;
struct saver;
struct keeper;

struct saved { /* one instance, at one marker */
    char *topology;
    uint64_t gen, epoch, instance;
    bool ok;
    struct fail fail;
    uint64_t *epochs; /* [epoch_count]: files that make up its state; the base first */
    size_t epoch_count;
    uint64_t bytes;   /* stored for this one */
    uint64_t pause_us, took_us;
    bool is_will;     /* the last of an instance that a change removes: see keeper_leave */
    uint64_t tuples_in, tuples_out; /* of the instance, at the marker */
};

struct saver_options {
    struct loop *loop;
    struct address master;
    const char *worker;   /* name; borrowed */
    uint64_t incarnation;
    void (*on_saved)(void *arg, const struct saved *s); /* on the loop; borrowed until it returns */
    /* the same for a will.  Return: it is not stored, and somebody still wants it to be */
    bool (*on_will)(void *arg, const struct saved *s);
    void *arg;
};
struct saver *saver_new(const struct saver_options *o);
void saver_free(struct saver *s); /* after every keeper; what is queued is given up */

/* keeper_new - @location: folder of the snapshots; "": the master. */
struct keeper *keeper_new(struct saver *s, const char *topology, uint64_t gen,
                          const char *location);
/* What the files that an instance was restored from are to the next one: see keeper_resume. */
struct restored {
    uint64_t *epochs; /* [epoch_count], oldest first; its own files.  0: the next one is whole */
    size_t epoch_count;
    struct restored_group {
        uint64_t whole, newest; /* epochs: of its last whole copy, of its newest piece; 0: none */
        uint32_t deltas;        /* entries in pieces since the whole copy */
        bool foreign;           /* it, or some of it, is not as its own files have it */
    } * groups;                 /* [states][KEY_GROUPS]; NULL: nothing was restored */
    uint64_t skipped;           /* pieces that were not unpacked: a newer file has all of it */
};
void restored_fini(struct restored *r);
/* keeper_resume - the instance was restored and has not run: its next file stands on those, so that
 * the first checkpoint after a recovery costs what has changed since, like any other. */
void keeper_resume(struct keeper *k, struct instance *i, const struct restored *r);
/* keeper_follow - the loop: what is saved from now on is of generation `gen`.  Accepts NULL. */
void keeper_follow(struct keeper *k, uint64_t gen);
void keeper_free(struct keeper *k); /* accepts NULL */
/* keeper_take - the instance has the marker of `epoch` on every input and has flushed.  What goes
 * wrong comes to on_saved: the instance goes on. */
void keeper_take(struct keeper *k, struct instance *i, uint64_t epoch);
/* keeper_tells - is there more to tell of what keeper_take froze?  Accepts NULL.
 * keeper_turn - tell a slice of it.  Return: shall it be called again soon?  When it may go on
 * later the instance's task is notified. */
bool keeper_tells(const struct keeper *k);
bool keeper_turn(struct keeper *k);
/* keeper_leave - the instance is removed by the change of `epoch`, and has flushed: what it has not
 * committed is saved as its will, without keyed tables, and tried again until it is stored or
 * nobody wants it.  Return: false when the PE has failed: pe_error. */
MUST_CHECK bool keeper_leave(struct keeper *k, struct instance *i, uint64_t epoch);
/* saver_again - the loop, now and then: wills that could not be stored are tried once more. */
void saver_again(struct saver *s);
/* saver_sweep - folder_sweep, on the saver's thread.  @needed: [count]. */
void saver_sweep(struct saver *s, const char *location, const char *topology,
                 const uint64_t *needed TAKES, size_t count, uint64_t below);
/* keeper_forget - its tables are about to change hands: the next checkpoint begins anew. */
void keeper_forget(struct keeper *k); /* accepts NULL */

/* ---- the file: blocks of core/blockfile.h ---- */
#define SNAPSHOT_FORMAT 3 /* of META; no other one is read */
enum snapshot_block {
    SNAPSHOT_META = 1, /* JSON: format, topology, uid, index, parallelism, epoch, state_version,
                        * finished, states (names), aside (key groups: worker/aside.h) */
    SNAPSHOT_OWN,      /* of type->snapshot */
    SNAPSHOT_GROUP,    /* tag: number of the state << 8 | key group; as state_reader_slice wrote it.
                        * Several of one group are in order */
    SNAPSHOT_KEPT,     /* tag: input port.  Input that the marker overtook (R19), in order: the name
                        * of the stream, NUL, the schema's text, NUL, padding to 8, and a batch in
                        * its wire form */
    SNAPSHOT_ENTRIES,  /* tag: number of the state.  256 u64: entries of each group, beforehand */
    SNAPSHOT_VERSIONS, /* tag: number of the state.  256 u64: the version that each group has after
                        * this file, 0 for one that has never had an entry.  A group's pieces before
                        * its newest whole copy are not of the state, whatever files they are in */
    SNAPSHOT_WHOLE,    /* tag: number of the state.  A bit for each group, the lowest first: it is
                        * whole in this file, so its pieces in older ones need not be unpacked.
                        * WHOLE and ENTRIES come right behind META, and are found without reading
                        * the file */
};

#endif
