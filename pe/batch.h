/* pe/batch.h - batches in the engine: pooled blocks, shared columns, views, builders, wire form.
 *
 * Owns:       struct pool (blocks by size), struct batch (a view), struct builder (open batch).
 * Threads:    pool: any (leaf mutex per shard).  A view belongs to one holder at a time; the blocks
 *             below it are shared between threads by reference count and immutable while shared.
 * Invariants: B1 a block with more than one reference is never written.
 *             B2 every ref of a string column lies inside its heap; bools are 0 or 1 (checked once,
 *                in batch_decode, for what comes from a peer).
 *             B3 sel is ascending, live <= rows, sel == NULL means live == rows.
 * See:        pe/pe.h for the public part, worker/channel.h for how batches travel. */
#ifndef OXB_PE_BATCH_H
#define OXB_PE_BATCH_H

#include "core/err.h"
#include "pe/pe.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* ---- pool ---- */
struct pool;
struct pool *pool_new(size_t cached_bytes_max); /* freed blocks kept for reuse, at most */
void pool_free(struct pool *p);                 /* all blocks must have come back (asserted) */
uint64_t pool_bytes_used(struct pool *p);       /* bytes of blocks out at present */

struct buf {             /* one block; data starts 64-byte aligned */
    atomic_uint refs;
    uint32_t size_class;
    size_t bytes;        /* usable */
    struct pool *pool;
    uint8_t *data;
    uint32_t shard;          /* of the pool, to which it goes back */
};
struct buf *buf_new(struct pool *p, size_t bytes); /* refs 1; returns or dies */
void buf_ref(struct buf *b);
void buf_unref(struct buf *b);

/* ---- schemas ----
 * Interned for the life of the process: equal text gives the same pointer.  Thread: any. */
MUST_CHECK enum err schema_parse(const char *text, const struct oxb_schema **out, struct fail *f);
uint32_t type_width(const struct oxb_field *field); /* bytes of one value (refs: 8) */
bool type_has_heap(enum oxb_type t);
uint32_t schema_row_bytes(const struct oxb_schema *s); /* of one row's values, heaps apart */
const char *type_name(enum oxb_type t);

/* ---- a view ---- */
struct batch {
    struct oxb_batch pub;    /* first: the SDK sees this */
    struct pool *pool;
    uint32_t buf_count;      /* distinct blocks this view holds a reference to */
    uint32_t buf_capacity;
    struct buf **bufs;
    uint16_t *sel_store;     /* room for pub.sel, [pub.rows], inside `block` */
    struct buf *block;       /* what this view itself lies in: header, columns, bufs, selection */
    struct oxb_pe *pending;  /* forwarded by this instance, not emitted yet; NULL: nowhere */
};

static inline struct batch *batch_of(struct oxb_batch *b)
{
    return (struct batch *)b;
}

/* batch_new - a view of `rows` rows without columns (data NULL) and without blocks. */
struct batch *batch_new(struct pool *p, const struct oxb_schema *schema, uint32_t rows);
/* batch_hold - let the view hold one reference to `block`, for columns that lie in it. */
void batch_hold(struct batch *b, struct buf *block TAKES);
void batch_free(struct batch *b); /* accepts NULL */
/* batch_share - another view of the same rows with its own selection and column table. */
struct batch *batch_share(const struct batch *b);
/* batch_select - a view of the rows sel[0..live) of `b`; `sel` is copied. */
struct batch *batch_select(const struct batch *b, const uint16_t *sel, uint32_t live);
/* batch_narrow - keep the rows sel[0..live) in this view itself; `sel` is copied. */
void batch_narrow(struct batch *b, const uint16_t *sel, uint32_t live);
/* batch_project - a view with the columns of `to`; map[i] is the column of `b` for field i, or -1
 * for a column set later. */
struct batch *batch_project(const struct batch *b, const struct oxb_schema *to, const int16_t *map);
/* batch_column_new - give column `field` fresh memory for `rows` values (and a heap). */
void batch_column_new(struct batch *b, unsigned field, uint32_t heap_bytes);
/* batch_column_own - make the column writable: in place if nobody shares it, else copy. */
void batch_column_own(struct batch *b, unsigned field);
/* batch_bytes - bytes of the live rows' values and strings (an estimate by average for heaps). */
size_t batch_bytes(const struct batch *b);

/* ---- an open batch, filled by rows ---- */
struct builder {
    struct oxb_writer pub;   /* first: the SDK sees this */
    struct pool *pool;
    const struct oxb_schema *schema;
    struct buf *fixed;       /* all columns' values; NULL while nothing is open */
    struct buf **heaps;      /* per field, or NULL */
    uint32_t *heap_hint;     /* per field: bytes used last time */
    int64_t at_us;           /* stamp of the oldest row; 0: none yet */
    void (*on_full)(void *arg, struct builder *b); /* oxb_row found it full: take it with finish */
    void *arg;
    size_t block_bytes;      /* of `fixed` */
    uint32_t rows_limit;     /* rows a batch of this schema may have */
    uint32_t heap_limit;     /* bytes of all heaps at which it counts as full */
    uint64_t tuple_bytes_over; /* size of a string that broke TUPLE_BYTES_MAX; 0: none did */
};
void builder_init(struct builder *b, struct pool *p, const struct oxb_schema *schema,
                  void (*on_full)(void *arg, struct builder *b), void *arg);
void builder_fini(struct builder *b);            /* accepts a zeroed struct */
void builder_open(struct builder *b);            /* allocates when nothing is open */
/* builder_finish - the committed rows as a batch (NULL if none); the builder is empty after. */
struct batch *builder_finish(struct builder *b);
/* builder_gather - append rows of `b` (row numbers sel[0..n)); columns by number map[field], or
 * NULL when schemas are equal.  sel NULL: the rows 0..n-1.  Stops when full; Return: rows taken. */
uint32_t builder_gather(struct builder *to, const struct batch *b, const uint16_t *sel, uint32_t n,
                        const int16_t *map);

/* ---- hashing and routing ---- */
/* batch_hash_keys - out[k] = hash of the key of the k-th live row. */
void batch_hash_keys(const struct oxb_batch *b, const unsigned *keys, unsigned key_count,
                     uint64_t *out /* [live] */);
static inline unsigned key_group(uint64_t hash) /* top eight bits; KEY_GROUPS == 256 */
{
    return (unsigned)(hash >> 56);
}

/* ---- wire form: columns as they lie in memory ----
 * All integers little-endian.  Only dense rows: gather first when live < rows.
 *   u32 rows; u32 column_count; u64 schema_id; i64 at_us;
 *   column_count x { u32 value_bytes; u32 heap_bytes };
 *   then per column the values, padded to 8, and the heap, padded to 8. */
#define WIRE_IOV_MAX (2 + 4 * 256)
size_t batch_wire_head_bytes(const struct oxb_schema *s);
/* batch_encode - @head: batch_wire_head_bytes() writable bytes.  @iov: WIRE_IOV_MAX entries that
 * point into head and the batch (borrowed).  Requires: dense.  Return: entries used. */
int batch_encode(const struct batch *b, uint8_t *head, struct iovec *iov, size_t *total);
/* batch_decode - @block: TAKES; holds the body at data[offset .. offset+bytes), offset 8-aligned.
 * Checks everything (B2) before anything is read by it.  The batch shares the block. */
MUST_CHECK enum err batch_decode(struct buf *block TAKES, size_t offset, size_t bytes,
                                 const struct oxb_schema *schema, struct batch **out);

/* ---- text, for sinks, tap and the harness ---- */
struct strbuf;
/* batch_json_row - one object, without a newline.  batch_tsv_row: fields and tabs, likewise. */
void batch_json_row(const struct oxb_batch *b, uint32_t row, struct strbuf *out);
void batch_tsv_row(const struct oxb_batch *b, uint32_t row, struct strbuf *out);
/* row_parse_json - one JSON object into a committed row; fields absent or of a wrong type fail. */
MUST_CHECK enum err row_parse_json(struct builder *to, const char *text, size_t bytes,
                                   struct fail *f);

#endif
