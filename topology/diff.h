/* topology/diff.h - what differs between two topologies, by content.
 *
 * Owns:       struct diff: the typed list of changes, and who is who in both.
 * Runs on:    anywhere; pure.
 * Invariants: D1 equal digests give no change: comments, order and formatting are none, and a
 *                plug-in with other bytes is one.
 *             D2 a PE is followed by its uid, a stream by its ends, else by its name.
 *             D3 every change names its PE or stream, and says before and after in words. */
#ifndef OXB_TOPOLOGY_DIFF_H
#define OXB_TOPOLOGY_DIFF_H

#include "topology/physical.h"

enum change_kind {
    CHANGE_PE_ADDED,
    CHANGE_PE_REMOVED,
    CHANGE_PE_RENAMED,
    CHANGE_PE_CODE,
    CHANGE_PE_PARAMS,
    CHANGE_PE_SCHEMA,
    CHANGE_PE_PARALLELISM,
    CHANGE_PE_PLACEMENT,         /* labels, device */
    CHANGE_PE_THREADS,           /* own or shared, isolation */
    CHANGE_PE_POLICY,            /* on_error, state: keep|drop */
    CHANGE_STREAM_ADDED,
    CHANGE_STREAM_REMOVED,
    CHANGE_STREAM_REPOINTED,     /* same name, other ends */
    CHANGE_STREAM_REPARTITIONED, /* same ends, other way of dividing */
    CHANGE_STREAM_RENAMED,
    CHANGE_POLICY,               /* of the whole: checkpoint, upgrade */
    CHANGE_FUSION,               /* of the whole */
    CHANGE_KIND_COUNT
};

struct diff_item {
    enum change_kind kind;
    uint32_t old, new;     /* PE or stream in V and V', or INDEX_NONE */
    char *name;            /* of the PE or stream, in V' if it is there */
    char *before, *after;  /* NULL where there is none */
};

struct diff {
    const struct topology *from, *to; /* borrowed */
    struct diff_item *items;             /* PEs by name, then streams by name, then the whole */
    size_t count, capacity;
    uint32_t *pe_old, *pe_new;        /* [PEs of V'] -> V and [PEs of V] -> V', or INDEX_NONE */
    uint32_t *stream_old, *stream_new;
    /* as a receipt counts them */
    uint32_t pes_added, pes_removed, pes_changed;
    uint32_t streams_added, streams_removed, streams_updated;
};

/* diff_topologies - borrows both for the life of the diff.  Return: never NULL. */
struct diff *diff_topologies(const struct topology *from, const struct topology *to);
void diff_free(struct diff *d);
const char *change_kind_name(enum change_kind kind); /* "pe-added" */
/* change_is_pe - of a PE; else of a stream or of the whole. */
static inline bool change_is_pe(enum change_kind kind)
{
    return kind <= CHANGE_PE_POLICY;
}

/* ---- comparisons that planning needs too */

/* pe_goes_on - an instance that is in both runs on as it is: same behaviour, threads and device;
 * and, where what it opens may depend on it (path.0 of two), same parallelism. */
bool pe_goes_on(const struct pe *a, const struct pe *b);
/* stream_same_partitioning - same kind, and the same key fields by name. */
bool stream_same_partitioning(const struct topology *a, const struct stream *x,
                              const struct topology *b, const struct stream *y);
/* stream_same_channels - staying streams: their channels between staying instances stay too. */
bool stream_same_channels(const struct diff *d, uint32_t old, uint32_t new);
/* stream_keys_text - "word, at"; caller frees. */
char *stream_keys_text(const struct topology *t, const struct stream *s);

#endif
