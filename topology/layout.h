/* topology/layout.h - where PEs and streams lie in a drawing, from left to right.
 *
 * Runs on:    anywhere; pure, deterministic.
 * Invariants: L1 every stream goes from a lower layer to a higher one.  L2 boxes of one layer do
 * not overlap. */
#ifndef OXB_TOPOLOGY_LAYOUT_H
#define OXB_TOPOLOGY_LAYOUT_H

#include "topology/model.h"

struct layout_node { /* a PE's box, or a point where a long stream passes a layer */
    int32_t pe;      /* index in the topology; -1: a passing stream */
    uint32_t layer;
    uint32_t rank; /* from the top, within the layer */
    double x, y;   /* top left */
    double width, height;
};

struct layout_path { /* of one stream: its nodes are points[first .. first+count) */
    uint32_t first, count;
};

struct layout {
    struct layout_node *nodes; /* the PEs first, by index */
    uint32_t node_count;
    uint32_t *points;          /* numbers of nodes */
    struct layout_path *paths; /* [stream_count] */
    uint32_t layer_count;
    double width, height;
};

/* layout_new - @widths, @heights: of each PE's box.  Free with layout_free. */
struct layout *layout_new(const struct topology *t, const double *widths, const double *heights);
void layout_free(struct layout *l);

#endif
