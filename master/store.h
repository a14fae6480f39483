/* master/store.h - what must outlive the master, behind a small interface.
 *
 * Durable when a call returns ERR_OK, and not before: term before the first message, ids and the
 * plan before PREPARE, the decision before GO, states last.  Another store (etcd) is another table
 * of functions.
 *
 * Runs on:    the master loop; blocks for one durable write (measured: below 1 ms on SSD).
 * Invariants: S1 the term grows by one at each open.  S2 an id once handed out is never handed out
 *             again.  S3 a version without decision is aborted by the next term.  S4 it does not
 *             grow with the number of changes: each topology has its newest VERSIONS_KEPT. */
#ifndef OXB_MASTER_STORE_H
#define OXB_MASTER_STORE_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store_instance {
    uint64_t id;
    char *pe;
    uint32_t index;
    char *worker;
    uint64_t incarnation; /* of the worker it was made in */
    uint32_t chain;
    char *groups; /* it owns, where some have moved: 64 hex digits, group 0 first; or "" */
};

struct store_channel {
    uint64_t id;
    char *stream;
    uint64_t from, to; /* instance ids */
    bool fused;
};

struct store_version { /* one version of one topology */
    char *topology;
    uint64_t version;
    uint64_t gen, op, epoch;
    bool decided;
    char *state;      /* name, as topology_state_name */
    char *yaml;
    char *canonical;
    char *digest;
    char *base_dir;
    char *artifacts;  /* JSON object: name in the YAML -> SHA-256 */
    char *types;      /* JSON array of {file, digest, types}: what the YAML was checked against */
    char *error;      /* JSON object, or "" */
    char *final;      /* JSON: the last status once it is over, or "" */
    uint64_t base;    /* the version it changes while it runs; 0: deployed */
    char *parts;      /* JSON: workers told of the change, when base != 0 */
    char *about;      /* JSON: what of the plan the receipt repeats, when base != 0 */
    char *receipt;    /* JSON, or "": not over */
    char *carried;    /* JSON: counters of what the topology has lost by changes, or "" */
    uint64_t from_epoch; /* recover: of the checkpoint it goes back to; 0: the beginning */
    uint64_t last;    /* highest version of this topology, decided or not */
    int64_t created_at_us;
    struct store_instance *instances;
    size_t instance_count;
    struct store_channel *channels;
    size_t channel_count;
};

struct store_snapshot { /* of one instance, part of a checkpoint */
    char *uid;
    uint32_t index, parallelism;
    uint64_t *epochs; /* [epoch_count]: files to read, the base first; none: nothing was saved */
    size_t epoch_count;
};

struct store_checkpoint { /* the manifest of a complete one */
    char *topology;
    uint64_t epoch, gen, version;
    int64_t created_at_us;
    uint64_t bytes, took_us;
    bool is_passed; /* output that it does not cover was committed, and stays: a rollback said so */
    struct store_snapshot *snapshots;
    size_t snapshot_count;
};

struct store_will { /* of master/wills.h */
    char *topology;
    uint64_t epoch; /* of the change that removed the PE; the snapshot's file has it */
    char *uid;
    uint32_t index;
    char *type;     /* of the PE */
    char *host;     /* where what it writes to is; "": anywhere */
    void *body;     /* WILL, as a frame */
    size_t bytes;
};

struct store;
struct store_ops {
    /* this run's term; durable already */
    uint64_t (*term)(struct store *s);
    /* a number that no other store is likely to have; for its life */
    uint64_t (*cluster)(struct store *s);
    /* a counter for instances, channels, ops and epochs: reserve `count`, *first is the first */
    enum err (*reserve)(struct store *s, uint64_t count, uint64_t *first, struct fail *f);
    /* the id that belongs to a worker's name, made when new */
    enum err (*worker_id)(struct store *s, const char *name, uint64_t *id, struct fail *f);
    /* whether the worker of that name takes new instances no more */
    enum err (*drained)(struct store *s, const char *worker, bool drained, struct fail *f);
    enum err (*each_drained)(struct store *s, void (*fn)(void *arg, const char *worker), void *arg,
                             struct fail *f);
    /* a plan, undecided, replacing nothing: (topology, version) is new */
    enum err (*plan)(struct store *s, const struct store_version *v, struct fail *f);
    /* the point of no return; what the PEs that go will have left is on record with it */
    enum err (*decide)(struct store *s, const char *topology, uint64_t version, uint64_t op,
                       const struct store_will *wills, size_t will_count, struct fail *f);
    /* error, final: NULL leaves what is there */
    enum err (*state)(struct store *s, const char *topology, uint64_t version, const char *state,
                      const char *error, const char *final, struct fail *f);
    /* how a change of a running topology went */
    enum err (*receipt)(struct store *s, const char *topology, uint64_t version,
                        const char *receipt, struct fail *f);
    /* counters of what a topology has lost by changes; a deploy forgets them */
    enum err (*carry)(struct store *s, const char *topology, const char *carried, struct fail *f);
    /* all versions of a topology, oldest first, without their graphs; borrowed as below */
    enum err (*history)(struct store *s, const char *topology,
                        void (*fn)(void *arg, const struct store_version *v), void *arg,
                        struct fail *f);
    /* the newest version of each topology, in order of name; `v` is borrowed until fn returns.
     * Changes of a running topology that were not decided are aborted here and passed over. */
    enum err (*newest)(struct store *s, void (*fn)(void *arg, const struct store_version *v),
                       void *arg, struct fail *f);
    /* the checkpoint is complete, and of older ones all but `keep` - 1 are forgotten, and but the
     * newest of the newest version whose content is another: `rollback` goes back to it.
     * ERR_STALE: a change was decided meanwhile, or the generation is another: it is void
     * (PROTOCOL R17). */
    enum err (*manifest)(struct store *s, const struct store_checkpoint *c, uint32_t keep,
                         struct fail *f);
    /* `v`, another version with its own graph, is what runs from now on, decided, as it was at the
     * checkpoint `epoch`: later ones and wills of later changes are void.  @keep_output: what was
     * committed since stays, and `epoch` is_passed. */
    enum err (*rollback)(struct store *s, const struct store_version *v, uint64_t epoch,
                         bool keep_output, struct fail *f);
    /* one version with its graph, if it is there; borrowed as below */
    enum err (*version)(struct store *s, const char *topology, uint64_t version,
                        void (*fn)(void *arg, const struct store_version *v), void *arg,
                        struct fail *f);
    /* the complete ones, newest first; borrowed as below */
    enum err (*checkpoints)(struct store *s, const char *topology,
                            void (*fn)(void *arg, const struct store_checkpoint *c), void *arg,
                            struct fail *f);
    /* the same version under a new generation, with the graph of `v`; its state: recovering.
     * Wills of changes after the checkpoint it goes back to are void. */
    enum err (*recover)(struct store *s, const struct store_version *v, struct fail *f);
    /* how the recovery that began generation `gen` went; the newest RECOVERIES_KEPT are kept */
    enum err (*recovered)(struct store *s, const char *topology, uint64_t gen, const char *receipt,
                          struct fail *f);
    /* these receipts (JSON), oldest first; borrowed until fn returns */
    enum err (*recoveries)(struct store *s, const char *topology,
                           void (*fn)(void *arg, const char *receipt), void *arg, struct fail *f);
    /* wills, in no order; borrowed as below */
    enum err (*wills)(struct store *s, void (*fn)(void *arg, const struct store_will *w),
                      void *arg, struct fail *f);
    enum err (*will_done)(struct store *s, const struct store_will *w, struct fail *f);
    void (*close)(struct store *s);
};
struct store { /* first member of every implementation */
    const struct store_ops *ops;
};

/* store_sqlite_open - DATA/oxbow.db: WAL, synchronous=FULL.  Takes the next term. */
MUST_CHECK enum err store_sqlite_open(const char *dir, struct store **out, struct fail *f);

void store_version_fini(struct store_version *v);
void store_checkpoint_fini(struct store_checkpoint *c);
void store_will_fini(struct store_will *w);

#endif
