/* tests/support/pe_run.h - runs instance i of N of one PE, with real time, and keeps what it emits.
 *
 * The harness of pe/pe.h runs one instance of one; tests of parallelism, of batches as such and of
 * sockets need what is below it.  Use after including cmocka's headers. */
#ifndef OXB_TESTS_SUPPORT_PE_RUN_H
#define OXB_TESTS_SUPPORT_PE_RUN_H

#include "core/strbuf.h"
#include "pe/host.h"

#include <poll.h>

#define PE_RUN_WATCHES 16

struct pe_run {
    struct pool *pool;
    struct oxb_pe *pe;
    const struct oxb_schema *in;
    struct strbuf out; /* JSON lines, if keeps_text */
    bool keeps_text;
    uint64_t rows;
    uint64_t batches;
    uint64_t first_us; /* monotonic: when the first and the last batch came */
    uint64_t last_us;
    uint64_t timer_due_us; /* 0: none; one timer is enough for the built-ins */
    uint64_t timer_id;
    struct pollfd watches[PE_RUN_WATCHES];
    unsigned watch_count;
    struct fail fail; /* why pe_run_open or pe_run_start failed */
};

/* pe_run_open - prepared, not started.  Return: false, r->fail set.  pe_run_close either way. */
bool pe_run_open(struct pe_run *r, const struct oxb_pe_type *type, const char *params,
                 const char *in_schema, const char *out_schema, unsigned index, unsigned count);
/* pe_run_open_exact - likewise, of a topology with checkpoints; instance 0 of 1. */
bool pe_run_open_exact(struct pe_run *r, const struct oxb_pe_type *type, const char *params,
                       const char *in_schema, uint64_t generation);
bool pe_run_start(struct pe_run *r);
void pe_run_close(struct pe_run *r);
int pe_run_feed(struct pe_run *r, const char *json_lines); /* one batch */
/* pe_run_sel - the same rows, of which only sel[0..live) are alive. */
int pe_run_sel(struct pe_run *r, const char *json_lines, const uint16_t *sel, uint32_t live);
/* pe_run_turn - produce, or wait up to wait_ms for a descriptor or timer when idle.
 * Return: what produce said. */
int pe_run_turn(struct pe_run *r, int wait_ms);
int pe_run_to_end(struct pe_run *r); /* until OXB_END or OXB_ERROR */
const char *pe_run_text(struct pe_run *r);

#endif
