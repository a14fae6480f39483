/* oxbow/pe.h - the SDK: how a processing element (PE) is written and how a program joins a cluster.
 *
 * A PE is a table of functions and declarations, `struct oxb_pe_type`.  The engine calls it once
 * per batch: a batch holds up to 1024 tuples by column, with an optional selection of the rows that
 * are alive.  A PE hands the batch on (oxb_forward), narrows its selection (oxb_keep), gives it new
 * columns (oxb_derive, oxb_new_*), or writes rows of its own (oxb_writer).  The engine routes,
 * numbers and flushes.
 *
 * Threads: one instance is never entered by two threads at once, but it may be entered by different
 *          threads one after the other; keep no thread-local state.
 * Ownership: what a callback receives is borrowed until it returns, unless said otherwise.
 * Errors: a callback returns OXB_OK, or calls oxb_fail() and returns what that returned; one
 *         that fails on one tuple of a batch says which: oxb_fail_at().
 * ABI: OXB_ABI_MAJOR changes when a plug-in must be rebuilt; structs only grow at their end. */
#ifndef OXBOW_PE_H
#define OXBOW_PE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OXB_ABI_MAJOR 1u
#define OXB_ABI_MINOR 3u
#define OXB_ABI ((OXB_ABI_MAJOR << 16) | OXB_ABI_MINOR)

struct oxb_pe;     /* one running instance; opaque */
struct oxb_state;  /* one keyed table of an instance; opaque */

/* ---------------------------------------------------------------- types and schemas */

enum oxb_type {
    OXB_NONE = 0,
    OXB_I64,   /* int64_t */
    OXB_F64,   /* double */
    OXB_BOOL,  /* uint8_t, 0 or 1 */
    OXB_STR,   /* struct oxb_ref into the column's heap; UTF-8 */
    OXB_BYTES, /* struct oxb_ref into the column's heap */
    OXB_TIME,  /* int64_t, microseconds since 1970-01-01 UTC */
    OXB_F32,   /* float[elements], a tensor of fixed shape */
};

struct oxb_field {
    const char *name;
    enum oxb_type type;
    uint32_t elements;  /* of an OXB_F32 tensor: product of dims; else 1 */
    uint32_t dim_count; /* of an OXB_F32 tensor: 1..8; else 0 */
    const uint32_t *dims;
};

struct oxb_schema { /* immutable, lives as long as the process */
    uint64_t id;    /* hash of the canonical text: equal schemas have equal ids everywhere */
    uint32_t field_count;
    const struct oxb_field *fields;
    const char *text; /* canonical: "path: str, status: i64, img: f32[1,28,28]" */
};

/* ---------------------------------------------------------------- batches */

struct oxb_ref { /* one string: heap[off .. off+len) */
    uint32_t off;
    uint32_t len;
};

struct oxb_str { /* a borrowed string; not NUL-terminated */
    const char *p;
    uint32_t len;
};

struct oxb_col {
    void *data;          /* dense array of `rows` values, type by the schema; 64-byte aligned, but
                          * only 8-byte aligned when the batch came from another worker */
    const uint8_t *heap; /* OXB_STR, OXB_BYTES: what the refs point into */
    uint32_t heap_bytes;
};

struct oxb_batch {
    uint32_t rows;       /* physical rows, 1..1024 */
    uint32_t live;       /* rows that count, 0..rows */
    const uint16_t *sel; /* [live], ascending row numbers; NULL: all rows are live */
    int64_t at_us;       /* wall clock when the rows entered the engine; 0 = unknown */
    const struct oxb_schema *schema;
    struct oxb_col *cols; /* [schema->field_count] */
};

/* Columns for reading, [rows]; index them with row numbers from OXB_EACH. */
static inline const int64_t *oxb_i64s(const struct oxb_batch *b, unsigned field)
{
    return (const int64_t *)b->cols[field].data; /* OXB_I64 and OXB_TIME */
}
static inline const double *oxb_f64s(const struct oxb_batch *b, unsigned field)
{
    return (const double *)b->cols[field].data;
}
static inline const uint8_t *oxb_bools(const struct oxb_batch *b, unsigned field)
{
    return (const uint8_t *)b->cols[field].data;
}
static inline const float *oxb_f32s(const struct oxb_batch *b, unsigned field)
{
    return (const float *)b->cols[field].data; /* [rows][elements], row-major */
}
static inline struct oxb_str oxb_str_at(const struct oxb_batch *b, unsigned field, uint32_t row)
{
    const struct oxb_col *c = &b->cols[field];
    struct oxb_ref r = ((const struct oxb_ref *)c->data)[row];
    struct oxb_str s = {(const char *)c->heap + r.off, r.len};
    return s;
}

/* OXB_EACH(batch, i) { ... } - run the block for every live row number i (uint32_t).
 * `break` and `continue` work as in any loop. */
#define OXB_EACH(b, i)                                                                             \
    for (uint32_t oxb_k_ = 0, i = (b)->live == 0 ? 0 : ((b)->sel != NULL ? (b)->sel[0] : 0);       \
         oxb_k_ < (b)->live;                                                                       \
         oxb_k_++, i = ((b)->sel != NULL ? (oxb_k_ < (b)->live ? (b)->sel[oxb_k_] : 0) : oxb_k_))

/* ---------------------------------------------------------------- results of callbacks */

enum oxb_result {
    OXB_OK = 0,
    OXB_END = 1,   /* produce only: the source has ended; it is not called again */
    OXB_IDLE = 2,  /* produce only: nothing now; call again after a watched fd, timer or oxb_wake */
    OXB_ERROR = -1 /* oxb_fail() has set the text */
};

/* oxb_fail - record why; shown to the user with the PE's name.  Return: OXB_ERROR. */
int oxb_fail(struct oxb_pe *pe, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* From ABI 1.2 on.  What `on_error` (but for `stop` with retries 0) does when `process` fails:
 *  - what the failing call emitted has not left yet;
 *  - oxb_fail_at(pe, row, ...): the live rows before `row` are done, their output leaves and their
 *    changes of state count; nothing has been done with what follows.  Exact for every PE.
 *  - oxb_fail(): nothing has been done; what the call emitted is thrown away, and the rows are
 *    given to `process` one by one, to find the one.  That is right only for code that
 *    had changed nothing of its own: keyed state that was written is noticed, and the instance
 *    fails for good; anything else in oxb_self() is not.
 * The macros OXB_FILTER, OXB_MAP and OXB_FLATMAP name the row themselves.
 * @row: a row number of the batch, as OXB_EACH gives it.  Return: OXB_ERROR. */
int oxb_fail_at(struct oxb_pe *pe, uint32_t row, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* oxb_fail_input - a source: what it has read cannot be made into a tuple, and it has gone past it,
 * so that the next `produce` goes on behind it.  Not tried again; a dead letter holds `data`.
 * @data: not NUL-terminated; may be NULL.  Return: OXB_ERROR. */
int oxb_fail_input(struct oxb_pe *pe, const char *data, size_t bytes, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* For loops over rows: *oxb_failing(pe) is true once oxb_fail ran in this callback; oxb_failed_at
 * names the row of that failure.  The macros use them; functions they call need only oxb_fail. */
const bool *oxb_failing(struct oxb_pe *pe);
int oxb_failed_at(struct oxb_pe *pe, uint32_t row); /* Return: OXB_ERROR */
/* oxb_cut_at - of a derived batch only the rows before `row` count; for OXB_MAP. */
void oxb_cut_at(struct oxb_pe *pe, struct oxb_batch *derived, uint32_t row);

enum oxb_log_level { OXB_DEBUG, OXB_INFO, OXB_WARN, OXB_LOG_ERROR };
void oxb_log(struct oxb_pe *pe, enum oxb_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* ---------------------------------------------------------------- declarations */

enum oxb_param_type {
    OXB_P_I64 = 1,
    OXB_P_F64,
    OXB_P_BOOL,
    OXB_P_STR,
    OXB_P_ENUM,     /* one word of `choices` */
    OXB_P_PATH,     /* made absolute against the topology file; a local file of the host */
    OXB_P_ADDRESS,  /* HOST:PORT */
    OXB_P_DURATION, /* "10ms"; oxb_param_i64 gives microseconds */
    OXB_P_SIZE,     /* "64KiB"; oxb_param_i64 gives bytes */
    OXB_P_FIELD,    /* names a field of the input, checked against its schema */
    OXB_P_FIELDS,   /* one name or a list of names of fields of the input */
    OXB_P_ANY,      /* any scalar */
    OXB_P_MAP,      /* a mapping of names to scalars */
};

#define OXB_REQUIRED (1u << 0)
/* OXB_WRITES - an OXB_P_PATH or OXB_P_STR that names a file of its host which the PE writes; with
 * parallelism N > 1 it writes VALUE.0 ... VALUE.N-1.  Nobody else may name it.  From ABI 1.3 on. */
#define OXB_WRITES (1u << 1)

struct oxb_param {            /* array ends with name == NULL */
    const char *name;
    enum oxb_param_type type;
    unsigned flags;           /* OXB_REQUIRED | OXB_WRITES */
    const char *fallback;     /* default as YAML text; NULL: none (absent) */
    const char *choices;      /* OXB_P_ENUM: "each final" */
    double min, max;          /* numbers, microseconds, bytes; both 0: unbounded */
    const char *doc;          /* one line */
};

/* A port's schema is an expression over the PE's input and parameters, items separated by commas:
 *   name: type    a field of that type (i64 f64 bool str bytes time f32[...])
 *   *             all fields of input port 0
 *   $by           the input fields that parameter `by` names, with their types
 *   $as: str      a field with the name that parameter `as` gives, and that type
 *   name: $field  a field with the type of the input field that parameter `field` names
 *   +fields       the constants of the OXB_P_MAP parameter `fields` (replacing fields of that name)
 *   ?bytes(...)   the item in brackets, if parameter `bytes` is set and neither 0 nor false
 *   ?p=word(...)  the item in brackets, if parameter `p` (its default counts) is `word`
 *   ?p!=word(...) likewise, if it is not
 *   ~out          the outputs of the model that the PE runs, as parameter `out` names them
 *   declared      what the topology's `out:` says (required there)
 * For an input: NULL or "*" takes any schema; otherwise the fields that must be present. */
struct oxb_port {         /* array ends with name == NULL */
    const char *name;     /* the default ports are called "in" and "out" */
    const char *schema;
    const char *doc;
};

struct oxb_value {        /* one cell of a keyed state's value; 8 bytes each, in order */
    const char *name;
    enum oxb_type type;   /* OXB_I64 OXB_F64 OXB_BOOL OXB_TIME: in the cell; OXB_BYTES: a blob */
};

struct oxb_state_decl {   /* array ends with name == NULL */
    const char *name;
    const struct oxb_value *values; /* ends with name == NULL; outlives the code that wrote it */
};

enum oxb_flags {
    OXB_SOURCE = 1u << 0,      /* has no inputs; `produce` is called */
    OXB_MANY = 1u << 1,        /* emits other than one tuple per tuple (flat-map, timers) */
    OXB_REPLAYABLE = 1u << 2,  /* a source that can go back to a snapshot of its position */
    OXB_OWN_THREAD = 1u << 3,  /* its callbacks may block: gets a thread of its own by default */
    OXB_LOCAL = 1u << 4,       /* bound to a file or port of its host: never moved silently */
    OXB_EFFECTS = 1u << 5,     /* acts on the outside world (sinks) */
    OXB_MERGES = 1u << 6,      /* takes several streams on one input port */
};

struct oxb_key;
struct oxb_blob;               /* bytes being written by a snapshot */

struct oxb_pe_type {
    uint32_t abi;              /* OXB_ABI */
    uint32_t flags;            /* enum oxb_flags */
    const char *name;          /* [a-z][a-z0-9-]* */
    const char *doc;           /* one line, for `oxbow pe list` */
    const struct oxb_param *params;       /* may be NULL */
    const struct oxb_port *inputs;        /* NULL: one port "in" taking anything (sources: none) */
    const struct oxb_port *outputs;       /* NULL: none (a sink) */
    const struct oxb_state_decl *states;  /* may be NULL */
    uint32_t state_version;    /* raise when the meaning of state or snapshot changes; from 1 */
    uint32_t self_bytes;       /* size of the instance's own struct: oxb_self(), zeroed */

    /* Life, in order.  Any may be NULL but process (produce for sources).
     * prepare: read parameters, allocate, load, warm up; takes nothing exclusive, may be slow, may
     *          run beside an older instance of the same PE, on a helper thread.
     * bind:    the schema of input `port` is known (again): look up field numbers.  Fast.
     * start:   open files, ports, devices; the older instance, if any, has stopped.
     * process: one batch.  The view is the callee's to modify; its columns are shared.
     * produce: a source's turn: emit up to about `rows_max` rows, then return.
     * ready:   a watched descriptor has `events` (EPOLLIN ...).
     * timer:   the timer set with `id` is due.
     * finish:  all inputs have ended: emit what is left (final results); called once.
     * stop:    close what start opened.  Called once, also after errors.
     * drop:    free what prepare made. */
    int (*prepare)(struct oxb_pe *pe);
    int (*bind)(struct oxb_pe *pe, unsigned port, const struct oxb_schema *schema);
    int (*start)(struct oxb_pe *pe);
    int (*process)(struct oxb_pe *pe, unsigned port, struct oxb_batch *in);
    int (*produce)(struct oxb_pe *pe, uint32_t rows_max);
    int (*ready)(struct oxb_pe *pe, int fd, uint32_t events);
    int (*timer)(struct oxb_pe *pe, uint64_t id);
    int (*finish)(struct oxb_pe *pe);
    void (*stop)(struct oxb_pe *pe);
    void (*drop)(struct oxb_pe *pe);

    /* State besides the keyed tables (a source's position, counters), as bytes of the PE's choice.
     * snapshot: between two batches; what was emitted before is covered by it.
     * restore:  after prepare, before start; `version` is the state_version that wrote it.
     *          Other than the own one when code is replaced by code with another state_version.
     * migrate:  turn one entry of the keyed state `state`, written under another state_version,
     *          into this one's.  With it, code whose state_version differs takes the place of older
     *          code while the topology runs, and takes in older checkpoints.
     *          old_values: its cells as that version declared them, in order, each 8 bytes; blobs
     *          are read with oxb_cell_get.  new_values: cells as declared now, all 0, to be filled;
     *          blobs with oxb_cell_set(oxb_state(pe, state), cell, ...).  The entry keeps its key.
     *          Called after prepare and before start, entry by entry, in no order, on a helper
     *          thread while the older instance still runs: an entry that is written meanwhile comes
     *          again, so what it makes must depend on old_values and parameters only.  It must not
     *          emit, nor touch tables.  oxb_fail while a change is prepared: the change is refused
     *          with that text and nothing has happened.  For an entry written in the last moment,
     *          when the change is decided: the instance fails as it does when `start` fails. */
    int (*snapshot)(struct oxb_pe *pe, struct oxb_blob *out);
    int (*restore)(struct oxb_pe *pe, const void *data, size_t bytes, uint32_t version);
    int (*migrate)(struct oxb_pe *pe, const char *state, uint32_t from_version,
                   const void *old_values, void *new_values);
    /* flush: push what a sink buffers to where others can see it, or emit what a PE holds back;
     *        called when input pauses and at markers. */
    int (*flush)(struct oxb_pe *pe);

    /* From ABI 1.1 on.
     * commit: the checkpoint `epoch` is complete: what snapshots up to it cover may show outside.
     *         Must be idempotent: it may come twice, and after a crash in the middle `start` finds
     *         a half of it.  UINT64_MAX: the PE is being removed from a topology without
     *         checkpoints; everything is to show now.  With checkpoints, `snapshot` is called at
     *         its end, and when that counts a new instance does `restore` (without keyed tables),
     *         `start`, `commit`, `stop`, perhaps elsewhere, perhaps more than once. */
    int (*commit)(struct oxb_pe *pe, uint64_t epoch);

    /* From ABI 1.3 on.
     * key_timer: the timer in cell number `cell` of the entry `key` is due (oxb_key_timer_set); the
     *         cell is 0 by now.  The entry is there until this call deletes it.
     *         Between two batches; not while the instance is held, nor after its end: what is still
     *         set when all inputs have ended is for `finish` to look at.  `key` is borrowed. */
    int (*key_timer)(struct oxb_pe *pe, struct oxb_state *s, struct oxb_key key, unsigned cell);
};

void oxb_blob_add(struct oxb_blob *out, const void *data, size_t bytes);
/* oxb_blob_file - the snapshot counts only when the file `path` is durable: the engine syncs it and
 * its folder, beside the flow.  @fd: open on it; duplicated. */
void oxb_blob_file(struct oxb_blob *out, int fd, const char *path);
/* oxb_epoch - inside snapshot: of the checkpoint; 0: for a successor of this instance. */
uint64_t oxb_epoch(struct oxb_pe *pe);
bool oxb_checkpoints(struct oxb_pe *pe);       /* does the topology take checkpoints? */
uint64_t oxb_generation(struct oxb_pe *pe);    /* raised by every recovery of the topology */
/* oxb_output_stays - it is restored from a checkpoint after which more was committed, and that
 * stays (`rollback --to-checkpoint --keep-output`): go on behind what is there. */
bool oxb_output_stays(struct oxb_pe *pe);
/* oxb_begins - the topology begins with it: it was deployed, or is recovered from before its first
 * checkpoint.  False: it was running before, and an upgrade or a recovery brings this instance:
 * what it finds outside may be of a version before, and stays.  From ABI 1.3 on. */
bool oxb_begins(struct oxb_pe *pe);
const char *oxb_uid(struct oxb_pe *pe);        /* identity of the PE's state */

/* A plug-in exports either `const struct oxb_pe_type oxb_pe` or, for several, the array
 * `const struct oxb_pe_type *const oxb_pes[]`, ending with NULL. */
#define OXB_EXPORT __attribute__((visibility("default"), used))

/* ---------------------------------------------------------------- in an instance */

void *oxb_self(struct oxb_pe *pe);                 /* self_bytes, zeroed before prepare */
const char *oxb_name(struct oxb_pe *pe);           /* the PE's name in the topology, now */
unsigned oxb_index(struct oxb_pe *pe);             /* 0 .. parallelism-1 */
unsigned oxb_parallelism(struct oxb_pe *pe);       /* now: an upgrade may change it */

/* Parameters, checked before prepare; a missing one without default: has() is false, 0, NULL. */
bool oxb_param_has(struct oxb_pe *pe, const char *name);
int64_t oxb_param_i64(struct oxb_pe *pe, const char *name); /* also duration (us), size (bytes) */
double oxb_param_f64(struct oxb_pe *pe, const char *name);
bool oxb_param_bool(struct oxb_pe *pe, const char *name);
const char *oxb_param_str(struct oxb_pe *pe, const char *name);   /* borrowed until drop */
unsigned oxb_param_fields(struct oxb_pe *pe, const char *name, const char **names, unsigned max);
const char *oxb_param_json(struct oxb_pe *pe, const char *name);  /* OXB_P_MAP, OXB_P_ANY */

const struct oxb_schema *oxb_in_schema(struct oxb_pe *pe, unsigned port);  /* NULL: unconnected */
const struct oxb_schema *oxb_out_schema(struct oxb_pe *pe, unsigned port);
int oxb_field(const struct oxb_schema *schema, const char *name);          /* -1: none */
bool oxb_out_connected(struct oxb_pe *pe, unsigned port);  /* false: what is emitted goes nowhere */

/* ---------------------------------------------------------------- emitting */

/* oxb_forward - hand a batch on.  The batch must have the output port's schema (the input itself
 * where the schema passes, or what oxb_derive made).  It may be used until the callback returns. */
void oxb_forward(struct oxb_pe *pe, unsigned port, struct oxb_batch *batch);

/* oxb_keep - narrow the rows alive to sel[0..live), ascending rows of the current selection.
 * `sel` may be oxb_sel(pe).  The bytes are copied when the batch is handed on. */
void oxb_keep(struct oxb_batch *batch, const uint16_t *sel, uint32_t live);
uint16_t *oxb_sel(struct oxb_pe *pe); /* scratch, [1024], this callback */

/* oxb_derive - a view with the schema of output `port`: fields of the same name and type share the
 * input's columns, the others must be set by oxb_new_* or oxb_set_column before oxb_forward.
 * Valid until the callback returns. */
struct oxb_batch *oxb_derive(struct oxb_pe *pe, unsigned port, struct oxb_batch *in);

/* New columns of a derived batch, [rows], uninitialised; write the live rows. */
int64_t *oxb_new_i64s(struct oxb_pe *pe, struct oxb_batch *b, unsigned field);
double *oxb_new_f64s(struct oxb_pe *pe, struct oxb_batch *b, unsigned field);
uint8_t *oxb_new_bools(struct oxb_pe *pe, struct oxb_batch *b, unsigned field);
float *oxb_new_f32s(struct oxb_pe *pe, struct oxb_batch *b, unsigned field);
/* Refs and a heap of `heap_bytes` to write: the refs are the callee's to fill, all rows or the live
 * ones. */
struct oxb_ref *oxb_new_refs(struct oxb_pe *pe, struct oxb_batch *b, unsigned field,
                             uint32_t heap_bytes, uint8_t **heap);
/* The same column, writable: in place when nobody shares it, else a copy. */
int64_t *oxb_own_i64s(struct oxb_pe *pe, struct oxb_batch *b, unsigned field);
double *oxb_own_f64s(struct oxb_pe *pe, struct oxb_batch *b, unsigned field);

/* A column filled once with a constant and shared by any number of batches. */
struct oxb_const;
struct oxb_const *oxb_const_i64(struct oxb_pe *pe, int64_t value); /* also OXB_TIME */
struct oxb_const *oxb_const_f64(struct oxb_pe *pe, double value);
struct oxb_const *oxb_const_bool(struct oxb_pe *pe, bool value);
struct oxb_const *oxb_const_str(struct oxb_pe *pe, const char *p, uint32_t len); /* also bytes */
void oxb_set_column(struct oxb_pe *pe, struct oxb_batch *b, unsigned field, struct oxb_const *c);

/* Writing rows of one's own, by column.  The writer of a port is its open batch; the engine flushes
 * it when it is full, when the callback returns and input is empty, or after a linger.
 *
 *     struct oxb_writer *w = oxb_writer(pe, 0);
 *     OXB_EACH(in, i) {
 *         uint32_t r = oxb_row(w);                     // a row to fill
 *         oxb_put_i64(w, STATUS, r, status[i]);
 *         oxb_put_str(w, PATH, r, p, len);
 *         oxb_commit(w);                               // it counts now
 *     }
 * Every field of a committed row must have been put. */
struct oxb_wcol {
    void *data;          /* [rows_max] values or refs */
    uint8_t *heap;
    uint32_t heap_used;
    uint32_t heap_max;
};

struct oxb_writer {
    uint32_t rows;       /* committed */
    uint32_t rows_max;
    uint32_t heap_left;  /* bytes until the batch counts as full, all heaps together */
    uint32_t field_count;
    struct oxb_wcol *cols;
};

struct oxb_writer *oxb_writer(struct oxb_pe *pe, unsigned port);
void oxb_writer_flush(struct oxb_writer *w);                       /* slow path of oxb_row */
void oxb_writer_heap(struct oxb_writer *w, unsigned field, uint32_t more); /* of oxb_put_str */

static inline uint32_t oxb_row(struct oxb_writer *w)
{
    if (__builtin_expect(w->rows >= w->rows_max || w->heap_left == 0, 0)) {
        oxb_writer_flush(w);
    }
    return w->rows;
}
static inline void oxb_put_i64(struct oxb_writer *w, unsigned field, uint32_t row, int64_t v)
{
    ((int64_t *)w->cols[field].data)[row] = v; /* OXB_I64 and OXB_TIME */
}
static inline void oxb_put_f64(struct oxb_writer *w, unsigned field, uint32_t row, double v)
{
    ((double *)w->cols[field].data)[row] = v;
}
static inline void oxb_put_bool(struct oxb_writer *w, unsigned field, uint32_t row, bool v)
{
    ((uint8_t *)w->cols[field].data)[row] = v ? 1 : 0;
}
static inline float *oxb_put_f32(struct oxb_writer *w, unsigned field, uint32_t row,
                                 uint32_t elements) /* where to write the tensor */
{
    return (float *)w->cols[field].data + (size_t)row * elements;
}
/* oxb_put_space - reserve `len` bytes of the field's heap for this row and return them to fill. */
static inline uint8_t *oxb_put_space(struct oxb_writer *w, unsigned field, uint32_t row,
                                     uint32_t len)
{
    struct oxb_wcol *c = &w->cols[field];
    if (__builtin_expect(len > c->heap_max - c->heap_used, 0)) {
        oxb_writer_heap(w, field, len);
    }
    struct oxb_ref r = {c->heap_used, len};
    ((struct oxb_ref *)c->data)[row] = r;
    c->heap_used += len;
    w->heap_left = len < w->heap_left ? w->heap_left - len : 0;
    return c->heap + r.off;
}
static inline void oxb_put_str(struct oxb_writer *w, unsigned field, uint32_t row, const char *p,
                               uint32_t len)
{
    uint8_t *to = oxb_put_space(w, field, row, len);
    if (len > 0) {
        memcpy(to, p, len);
    }
}
static inline void oxb_commit(struct oxb_writer *w)
{
    w->rows++;
}

/* ---------------------------------------------------------------- per-tuple macros
 * They make the loop inside the plug-in, so that the compiler inlines the user's function.
 *
 *   static bool big(struct oxb_pe *pe, const struct oxb_batch *in, uint32_t i) {...}
 *   OXB_FILTER(process, big)
 *   static void twice(struct oxb_pe *pe, const struct oxb_batch *in, uint32_t i,
 *                     struct oxb_batch *out) {...}             // its columns: made by the setup
 *   OXB_MAP(process, setup, twice)                             // setup(pe, in, out): oxb_new_*
 *   static void split(struct oxb_pe *pe, const struct oxb_batch *in, uint32_t i,
 *                     struct oxb_writer *out) {...}            // oxb_row, oxb_put_*, oxb_commit
 *   OXB_FLATMAP(process, split)
 * A function that cannot do a row calls oxb_fail before it has changed anything: the rows before it
 * count, see oxb_fail_at. */
#define OXB_FILTER(name, fn)                                                                       \
    static int name(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)                        \
    {                                                                                              \
        (void)port;                                                                                \
        uint16_t *oxb_sel_ = oxb_sel(pe);                                                          \
        uint32_t oxb_n_ = 0;                                                                       \
        int oxb_r_ = OXB_OK;                                                                       \
        const bool *oxb_failing_ = oxb_failing(pe);                                                \
        OXB_EACH (in, oxb_i_) {                                                                    \
            bool oxb_pass_ = fn(pe, in, oxb_i_);                                                   \
            if (__builtin_expect(*oxb_failing_, 0)) {                                              \
                oxb_r_ = oxb_failed_at(pe, oxb_i_);                                                \
                break;                                                                             \
            }                                                                                      \
            oxb_sel_[oxb_n_] = (uint16_t)oxb_i_;                                                   \
            oxb_n_ += oxb_pass_ ? 1u : 0u;                                                         \
        }                                                                                          \
        oxb_keep(in, oxb_sel_, oxb_n_);                                                            \
        oxb_forward(pe, 0, in);                                                                    \
        return oxb_r_;                                                                             \
    }
#define OXB_MAP(name, setup, fn)                                                                   \
    static int name(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)                        \
    {                                                                                              \
        (void)port;                                                                                \
        struct oxb_batch *oxb_out_ = oxb_derive(pe, 0, in);                                        \
        int oxb_r_ = OXB_OK;                                                                       \
        const bool *oxb_failing_ = oxb_failing(pe);                                                \
        setup(pe, in, oxb_out_);                                                                   \
        OXB_EACH (in, oxb_i_) {                                                                    \
            fn(pe, in, oxb_i_, oxb_out_);                                                          \
            if (__builtin_expect(*oxb_failing_, 0)) {                                              \
                oxb_r_ = oxb_failed_at(pe, oxb_i_);                                                \
                oxb_cut_at(pe, oxb_out_, oxb_i_);                                                  \
                break;                                                                             \
            }                                                                                      \
        }                                                                                          \
        oxb_forward(pe, 0, oxb_out_);                                                              \
        return oxb_r_;                                                                             \
    }
#define OXB_FLATMAP(name, fn)                                                                      \
    static int name(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)                        \
    {                                                                                              \
        (void)port;                                                                                \
        struct oxb_writer *oxb_out_ = oxb_writer(pe, 0);                                           \
        const bool *oxb_failing_ = oxb_failing(pe);                                                \
        OXB_EACH (in, oxb_i_) {                                                                    \
            fn(pe, in, oxb_i_, oxb_out_);                                                          \
            if (__builtin_expect(*oxb_failing_, 0)) {                                              \
                return oxb_failed_at(pe, oxb_i_);                                                  \
            }                                                                                      \
        }                                                                                          \
        return OXB_OK;                                                                             \
    }

/* ---------------------------------------------------------------- keyed state
 * One table per declared state and instance, divided into 256 key groups that can move between
 * instances.  A value is an array of 8-byte cells as declared; a new entry's cells are 0. */
struct oxb_state *oxb_state(struct oxb_pe *pe, const char *name); /* from prepare on; NULL: none */

/* oxb_state_rows - find or make the entries of all live rows, keyed by the fields `keys`.
 * slots[k] (k-th live row) points to the cells, int64_t[] or double[]; valid until the callback
 * returns or the state is called again.  Counts as a write of every entry. */
int oxb_state_rows(struct oxb_state *s, const struct oxb_batch *in, const unsigned *keys,
                   unsigned key_count, void **slots);

/* Single entries; the key is an encoded key as oxb_state_each gives it, made by oxb_key_*. */
struct oxb_key {
    uint64_t hash;
    const uint8_t *data; /* encoded key; borrowed */
    uint32_t bytes;
};
struct oxb_key oxb_key_i64(const int64_t *v);                       /* borrows *v */
struct oxb_key oxb_key_str(const char *p, uint32_t len);
void *oxb_state_get(struct oxb_state *s, struct oxb_key key);       /* NULL: none; read only */
void *oxb_state_put(struct oxb_state *s, struct oxb_key key);       /* find or make, to write */
bool oxb_state_delete(struct oxb_state *s, struct oxb_key key);     /* true: it was there */
uint64_t oxb_state_count(struct oxb_state *s);
/* Every entry, in no order; `fn` may change cells, not add or delete.  Stops when fn is false. */
void oxb_state_each(struct oxb_state *s,
                    bool (*fn)(void *arg, struct oxb_key key, void *cells), void *arg);
/* OXB_BYTES cells own a blob: set copies; get borrows until the next change of that entry. */
void oxb_cell_set(struct oxb_state *s, void *cell, const void *data, uint32_t bytes);
struct oxb_str oxb_cell_get(const void *cell);
/* Timers of keys.  In the states of a PE with `key_timer` every OXB_TIME cell is a timer: a time of
 * the wall clock in microseconds, 0: not set.  It is a part of its entry, and so of checkpoints; it
 * goes with the key to another instance, to new code, and through a recovery; a deleted entry has
 * none.
 * oxb_key_timer_set - @cells: of the entry, as oxb_state_rows, _put or _get gave them, still valid.
 * Replaces the time that the cell has; putting it off is as cheap as writing a cell.  Only this may
 * write such a cell, and `migrate`.  Return: false, and nothing is done: it is no such cell. */
bool oxb_key_timer_set(struct oxb_state *s, void *cells, unsigned cell, int64_t at_us);
/* oxb_put_key - write an encoded key's fields into row `row`, starting at field `first`.
 * `schema` gives the types: the fields that were the key, in order. */
void oxb_put_key(struct oxb_writer *w, const struct oxb_schema *schema, unsigned first,
                 unsigned key_count, uint32_t row, struct oxb_key key);

/* ---------------------------------------------------------------- time, descriptors, metrics */

int64_t oxb_now_us(struct oxb_pe *pe);     /* wall clock, read at most once per batch */
uint64_t oxb_mono_us(struct oxb_pe *pe);   /* monotonic, likewise */
/* Timers of the instance, in this process: neither saved nor handed on, so `start` sets those it
 * needs.  What has to outlive the instance is a timer of a key.  The same id is replaced. */
void oxb_timer_set(struct oxb_pe *pe, uint64_t id, uint64_t due_mono_us);
void oxb_timer_clear(struct oxb_pe *pe, uint64_t id);
int oxb_watch(struct oxb_pe *pe, int fd, uint32_t events); /* EPOLLIN|EPOLLOUT; 0: no longer */
/* oxb_wake - make the engine call `produce` (sources) soon.  Thread: any, while the PE lives. */
void oxb_wake(struct oxb_pe *pe);

/* A counter (its name ends in _total) or gauge of the PE's own; NAME is shown at /metrics as
 * oxbow_NAME, *_us_total as *_seconds_total.  A name may end in labels, as in
 * `runs_total{device="cpu"}`; NAME_bucket (with a label le), NAME_sum, NAME_count: a histogram.
 * Any other characters than those of Prometheus names, or a name the engine has: status only. */
struct oxb_metric;
struct oxb_metric *oxb_metric(struct oxb_pe *pe, const char *name, const char *doc);
void oxb_metric_add(struct oxb_metric *m, int64_t by);
void oxb_metric_set(struct oxb_metric *m, int64_t value);

/* ---------------------------------------------------------------- registering and embedding
 * A program links liboxbow, registers its PE types and joins a master as one more worker. */
int oxb_register(const struct oxb_pe_type *type); /* 0, or -1: name taken or table malformed */

struct oxb_worker_options {
    const char *master;  /* HOST:PORT; required */
    const char *name;    /* NULL: made from host and pid */
    const char *data;    /* NULL: ./oxbow-data/NAME */
    const char *listen;  /* HOST:PORT for peers; NULL: 127.0.0.1:0 */
    unsigned threads;    /* 0: number of cores */
    unsigned slots;      /* 0: 64 */
    const char *const *labels; /* "k=v", ends with NULL; may be NULL */
};
struct oxb_worker;
/* oxb_worker_start - run a worker on threads of its own.  NULL: failed, text in err[err_bytes]. */
struct oxb_worker *oxb_worker_start(const struct oxb_worker_options *o, char *err,
                                    size_t err_bytes);
/* oxb_worker_wait - until topologies have run here and the master has seen them all to their end.
 * Thread: any but a PE's.  @timeout_ms: 0 waits for ever.  Return: 0, or -1 when time ran out. */
int oxb_worker_wait(struct oxb_worker *w, unsigned timeout_ms);
void oxb_worker_stop(struct oxb_worker *w); /* waits until its threads have ended; frees */

/* A feed is a source whose tuples come from function calls: register it, name it in the YAML by
 * `use: NAME`, push rows from one thread of the program. */
struct oxb_feed;
struct oxb_feed *oxb_feed_new(const char *type_name, const char *schema);
/* oxb_feed_writer - rows to fill as with oxb_writer.  Blocks while the topology is slower. */
struct oxb_writer *oxb_feed_writer(struct oxb_feed *f);
int oxb_feed_flush(struct oxb_feed *f); /* hand over what is written; -1: the topology stopped */
void oxb_feed_end(struct oxb_feed *f);  /* no more tuples: the stream ends */

/* A collector is a sink that calls a function of the program per batch, on a worker's thread. */
int oxb_collector_new(const char *type_name,
                      void (*fn)(void *arg, const struct oxb_batch *batch), /* NULL: the end */
                      void *arg);

/* ---------------------------------------------------------------- test harness
 * Runs one PE without a cluster: parameters as JSON, input as JSON lines, output as JSON lines. */
struct oxb_harness;
struct oxb_harness *oxb_harness_new(const struct oxb_pe_type *type, const char *params_json,
                                    const char *in_schema /* NULL for sources */,
                                    const char *out_schema /* NULL unless `declared` */,
                                    char *err, size_t err_bytes);
int oxb_harness_feed(struct oxb_harness *h, const char *json_lines); /* one batch */
int oxb_harness_run(struct oxb_harness *h, uint32_t turns);          /* produce, timers */
int oxb_harness_finish(struct oxb_harness *h);                       /* inputs end */
const char *oxb_harness_output(struct oxb_harness *h, unsigned port); /* JSON lines so far */
const char *oxb_harness_error(struct oxb_harness *h);
int oxb_harness_snapshot(struct oxb_harness *h, void **data, size_t *bytes); /* caller frees */
int oxb_harness_restore(struct oxb_harness *h, const void *data, size_t bytes);
void oxb_harness_free(struct oxb_harness *h);

#ifdef __cplusplus
}
#endif
#endif
