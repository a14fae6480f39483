/* cli/view.h - the master's documents as tables: topologies, one topology, workers. */
#ifndef OXB_CLI_VIEW_H
#define OXB_CLI_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

void view_topologies(const json_t *topologies, FILE *out, bool color);
void view_topology(const json_t *topology, FILE *out, bool color);
void view_workers(const json_t *workers, FILE *out, bool color);

/* view_totals_of - what entered by the sources and what reached the sinks. */
struct view_totals {
    uint64_t in, out;         /* tuples */
    double rate_in, rate_out; /* per second */
};
struct view_totals view_totals_of(const json_t *topology);

#endif
