/* topology/graph.h - facts that several drawings of a topology show. */
#ifndef OXB_TOPOLOGY_GRAPH_H
#define OXB_TOPOLOGY_GRAPH_H

#include "topology/physical.h"

struct strbuf;

/* graph_stream_label - "by path", "to all", "bad: by user" or "" into `out`. */
void graph_stream_label(struct strbuf *out, const struct topology *t, uint32_t stream);
/* graph_stream_channels - how many channels a stream has, and how many of them are fused. */
void graph_stream_channels(const struct pgraph *g, uint32_t stream, uint32_t *count,
                           uint32_t *fused);
/* graph_pe_workers - "w1 2, w2 1": workers with their instances of a PE. */
void graph_pe_workers(struct strbuf *out, const struct pgraph *g, uint32_t pe);
const char *graph_partitioning_text(enum partitioning p); /* "keyed"; static */

#endif
