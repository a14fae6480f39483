/* worker/grave.h - what one finished change retired, until nobody can hold a pointer to it (Z4 of
 * worker/change.h).  Only worker/change.c and discard.c make them, and worker/grave.c frees them.
 *
 * Threads:    the loop's. */
#ifndef OXB_WORKER_GRAVE_H
#define OXB_WORKER_GRAVE_H

#include "worker/change.h"
#include "worker/resend.h"

struct grave { /* things of one finished change, waiting for the grace period */
    struct grave *next;
    struct grace grace;
    struct instance **instances;
    uint32_t instance_count;
    struct channel **channels;
    uint32_t channel_count;
    struct chain **chains;
    uint32_t chain_count;
    struct cut **cuts;
    uint32_t cut_count;
    struct resends resends;
    struct moves *moves; /* given up: freed when no giver knows them any more */
    struct part *shell;  /* the staged part, emptied */
};

/* grave_open - its grace period begins: nothing in it can be reached any more, but by who holds it
 * already. */
void grave_open(struct grave *g TAKES, struct part *base);

#endif
