/* master/carry.h - counters of instances and channels that changes have removed.
 *
 * A change retires instances; what they had counted still belongs to their PE and stream.  Totals
 * that fell with every upgrade would be useless to who watches them.
 *
 * Owns:       struct carry.
 * Runs on:    the master loop; pure.
 * Invariants: K1 what status and metrics show of a PE or stream that stays never falls by a change:
 *             a PE is followed by its uid, a stream by its name. */
#ifndef OXB_MASTER_CARRY_H
#define OXB_MASTER_CARRY_H

#include <jansson.h>
#include <stdint.h>

struct deployment;

struct carry_pe {
    uint64_t in, out, errors; /* tuples */
};

struct carry_stream {
    uint64_t sent, gaps, repeats, reordered, compared, mismatched;
};

struct carry {
    struct carry_pe *pes;         /* [topology->pe_count]; NULL: nothing was carried */
    struct carry_stream *streams; /* [topology->stream_count] */
};

void carry_fini(struct carry *c);
/* carry_over - `next` takes the place of `d`: what goes is added up, and what stays keeps its last
 * report until the next one comes. */
void carry_over(struct deployment *next, const struct deployment *d);
struct carry_pe carry_of_pe(const struct deployment *d, uint32_t pe);
struct carry_stream carry_of_stream(const struct deployment *d, uint32_t stream);
/* carry_json, carry_read - for the store; `d` has its topology.  Caller decrefs. */
json_t *carry_json(const struct deployment *d);
void carry_read(struct deployment *d, const json_t *carried);

#endif
