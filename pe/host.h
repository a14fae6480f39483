/* pe/host.h - between an instance's code and whoever runs it: worker/ in production, the harness in
 * tests.  pe/instance.c implements the SDK's functions on top of these.
 *
 * Owns:       struct oxb_pe: parameters, ports, writers, states, metrics of one instance.
 * Threads:    the thread that runs the instance, except oxb_wake (any).
 * Life:       pe_new -> pe_prepare -> (pe_restore) -> pe_start -> pe_process/pe_produce/... ->
 *             pe_finish -> pe_stop -> pe_free.
 * Invariants: P1 no callback of the PE runs outside prepare..stop.
 *             P2 after a callback returned, no derived batch of it is alive. */
#ifndef OXB_PE_HOST_H
#define OXB_PE_HOST_H

#include "pe/batch.h"
#include "pe/pe.h"

struct pe_host {
    void *ctx;
    /* TAKES batch; in the port's out schema, live > 0 (empty ones are dropped before). */
    void (*emit)(void *ctx, unsigned port, struct batch *batch);
    void (*timer_set)(void *ctx, uint64_t id, uint64_t due_mono_us);
    void (*timer_clear)(void *ctx, uint64_t id);
    int (*watch)(void *ctx, int fd, uint32_t events);
    void (*wake)(void *ctx); /* any thread */
};

struct pe_port_spec {
    const char *name;
    const struct oxb_schema *schema; /* resolved; NULL: not connected (inputs) */
    bool connected;                  /* outputs: some stream takes it */
};

struct pe_spec {
    const struct oxb_pe_type *type;
    struct plugin *plugin;  /* its code, TAKES: closed by pe_free, after everything; NULL: ours */
    const char *name;       /* of the PE in its topology */
    const char *params;     /* canonical JSON object, checked against type->params */
    const char *base_dir;   /* relative OXB_P_PATHs are made absolute against it */
    const char *data_dir;   /* of the worker, for caches; NULL: none */
    const char *artifact;   /* the model file that is its code: what parameter `model` then
                             * names; NULL: none */
    unsigned index, parallelism;
    const struct pe_port_spec *inputs;
    unsigned input_count;
    const struct pe_port_spec *outputs;
    unsigned output_count;
    const char *uid;        /* NULL: the name */
    bool checkpoints;       /* the topology takes some */
    uint64_t generation;
    bool output_stays;      /* oxb_output_stays */
    bool joins;             /* the topology has run before: not oxb_begins */
    bool dead_letters;      /* one more output port behind the type's own: pe_write_dead_letter */
};

/* A tuple that could not be processed, as a tuple of the stream `PE.dead-letter`. */
#define DEAD_LETTER_SCHEMA                                                                         \
    "pe: str, instance: i64, stream: str, error: str, at: time, tuple: str"
struct pe_dead_letter {
    const char *pe, *stream, *error;
    int64_t instance, at_us;
    struct oxb_str tuple; /* as JSON, or what a source had read; may be empty */
};

struct pe_file { /* to be made durable before a snapshot counts */
    int fd;      /* the holder's own */
    char *path;
};

struct pe_snapshot { /* a zeroed struct is empty and valid */
    void *data;
    size_t bytes;
    struct pe_file *files;
    size_t file_count;
};

struct pe_counters { /* written by the instance's thread, read by any (relaxed) */
    _Atomic uint64_t tuples_in, tuples_out, batches_in, batches_out, bytes_in, bytes_out, errors;
    _Atomic uint64_t failed; /* tuples given up: dropped or dead-lettered (I10) */
};

struct oxb_pe *pe_new(const struct pe_spec *spec, const struct pe_host *host, struct pool *pool);
void pe_free(struct oxb_pe *pe); /* accepts NULL; calls type->drop if prepared */
/* pe_settle - what the topology calls it now, and how many there are.  Thread: any, by turns. */
void pe_settle(struct oxb_pe *pe, const char *name, unsigned parallelism);
/* pe_prepare - prepare, then bind per input; pe_free calls drop also when this failed. */
MUST_CHECK enum err pe_prepare(struct oxb_pe *pe, struct fail *f);
MUST_CHECK enum err pe_start(struct oxb_pe *pe, struct fail *f);
/* The calls below return the callback's enum oxb_result; text of an error: pe_error(). */
int pe_process(struct oxb_pe *pe, unsigned port, struct batch *in TAKES);
/* pe_attempt - process a batch so that a failure can be undone: what it emitted leaves only as far
 * as it counts (see oxb_fail_at).  Counted as taken in: the rows that are done, no batch.
 * Return: OXB_OK: all rows are done, or OXB_ERROR, with
 *  @out->done:  live rows, from the first, that are done;
 *  @out->named: the next one is what it failed on; if not, it may be any of them;
 *  @out->spoilt: not named, and keyed state was written: nobody knows what has been done. */
struct pe_attempt {
    uint32_t done;
    bool named, spoilt;
};
int pe_attempt(struct oxb_pe *pe, unsigned port, struct batch *in TAKES, struct pe_attempt *out);
/* pe_write_dead_letter - between two callbacks; it leaves with the next flush.  Return: false when
 * no stream takes dead letters. */
bool pe_write_dead_letter(struct oxb_pe *pe, const struct pe_dead_letter *d);
/* pe_bad_input - what the source had read, if the last callback failed by oxb_fail_input. */
bool pe_bad_input(const struct oxb_pe *pe, struct oxb_str *out);
int pe_produce(struct oxb_pe *pe, uint32_t rows_max);
int pe_ready(struct oxb_pe *pe, int fd, uint32_t events);
int pe_timer(struct oxb_pe *pe, uint64_t id);
static inline bool pe_type_has_key_timer(const struct oxb_pe_type *t)
{
    return (t->abi & 0xffffu) >= 3 && t->key_timer != NULL; /* an older struct ends before it */
}
/* pe_key_timer_next - when the first timer of a key is due; wall clock, us.  INT64_MAX: there is
 * none. */
int64_t pe_key_timer_next(const struct oxb_pe *pe);
/* pe_key_timer - one that is due by `now_us`.  Return: OXB_IDLE: there is none. */
int pe_key_timer(struct oxb_pe *pe, int64_t now_us);
int pe_finish(struct oxb_pe *pe);
int pe_flush_sink(struct oxb_pe *pe); /* type->flush, if any */
void pe_stop(struct oxb_pe *pe);
/* pe_flush_writers - emit what the open writers hold.  pe_has_open: is there any? */
void pe_flush_writers(struct oxb_pe *pe);
bool pe_has_open(const struct oxb_pe *pe);
const char *pe_data_dir(const struct oxb_pe *pe); /* as in pe_spec */
const char *pe_error(const struct oxb_pe *pe); /* last oxb_fail text, "" if none */
struct pe_counters *pe_counters(struct oxb_pe *pe);
const struct oxb_pe_type *pe_type(const struct oxb_pe *pe);

/* Opaque snapshot (type->snapshot) and keyed states, for checkpoints and moves. */
MUST_CHECK enum err pe_snapshot(struct oxb_pe *pe, void **data, size_t *bytes); /* caller frees */
/* pe_snapshot_at - of the checkpoint `epoch`, with the files it needs; pe_snapshot_fini. */
MUST_CHECK enum err pe_snapshot_at(struct oxb_pe *pe, uint64_t epoch, struct pe_snapshot *out);
void pe_snapshot_fini(struct pe_snapshot *s);
/* pe_commit - type->commit, if any.  Return: as a callback. */
int pe_commit(struct oxb_pe *pe, uint64_t epoch);
bool pe_commits(const struct oxb_pe *pe);
MUST_CHECK enum err pe_restore(struct oxb_pe *pe, const void *data, size_t bytes,
                               uint32_t version, struct fail *f);
/* pe_take_states - `to` takes over the keyed states of `from` that have the same name and values;
 * by pointer, for they are engine-typed.  pe_take_counters: tuples in and out go on counting. */
void pe_take_states(struct oxb_pe *to, struct oxb_pe *from);
void pe_take_counters(struct oxb_pe *to, struct oxb_pe *from);
/* pe_take_group, pe_take_pieces - entries of the keyed state `state` that code of state_version
 * `version` wrote come into `to`, a table declared like the PE's own of that name; through
 * type->migrate when the version is another.  ERR_VERSION: there is no migrate; ERR_NOTFOUND: no
 * such state; else what state_migrate_group and the PE say.
 * Requires: prepared and not started, and nobody else in the PE.  Thread: any, by turns. */
MUST_CHECK enum err pe_take_group(struct oxb_pe *pe, const char *state, uint32_t version,
                                  struct oxb_state *to, unsigned group, const void *data,
                                  size_t bytes, struct fail *f);
MUST_CHECK enum err pe_take_pieces(struct oxb_pe *pe, const char *state, uint32_t version,
                                   struct oxb_state *to, const void *data, size_t bytes,
                                   struct fail *f);
/* pe_connect - a stream takes what output `port` emits, or none does any more; between two
 * batches. */
void pe_connect(struct oxb_pe *pe, unsigned port, bool connected);
unsigned pe_state_count(const struct oxb_pe *pe);
struct oxb_state *pe_state_at(struct oxb_pe *pe, unsigned i);

/* Metrics of the PE's own, for /metrics. */
void pe_metrics_each(struct oxb_pe *pe,
                     void (*fn)(void *arg, const char *name, const char *doc, int64_t value),
                     void *arg);

#endif
