/* worker/moves_own.h - what moves.c and move_turn.c know of each other; nobody else includes it.
 *
 * Threads:    a field belongs to the loop unless it says otherwise. */
#ifndef OXB_WORKER_MOVES_OWN_H
#define OXB_WORKER_MOVES_OWN_H

#include "core/strbuf.h"
#include "net/states.h"
#include "worker/cut.h"
#include "worker/handover.h"
#include "worker/moves.h"
#include "worker/stage.h"

struct parcel {              /* between executors, loop and helper */
    struct parcel *next;
    struct move *move;
    enum state_kind kind;    /* 0: none, or malformed */
    char *state;
    struct strbuf data;
    uint32_t version;        /* state_version of who wrote `data` */
    uint64_t entries;        /* STATE_FINAL */
    bool finished;
    bool slice_end, more;    /* a slice ends here; was there more to tell? */
    unsigned rounds;
    uint64_t behind;         /* entries written and not told by then */
    struct stage *trash;     /* to be freed where it may take long */
    uint64_t number;         /* of the last message of it, where it came from a peer */
    struct fail fail;        /* the helper could not take it in */
};

struct parcels {
    struct parcel *first, *last;
};

struct message {             /* to the taker's worker; kept until it was taken in */
    enum state_kind kind;
    char *state;
    struct strbuf data;
    bool more, finished;
    uint32_t version;
    uint64_t entries;
};

struct move {
    struct moves *set;
    /* fixed */
    uint64_t giver_id, taker_id;
    bool groups[KEY_GROUPS], keyed, other;
    struct instance *giver, *taker;  /* NULL: at the peer */
    char *peer;                      /* NULL: both are here */
    uint64_t peer_incarnation;
    struct link_out *out;            /* the giver is here, the taker at the peer */
    bool told;                       /* the giver is here, and tells: to the peer, or, because the
                                      * entries are migrated, to the helper */
    struct oxb_pe *code;             /* the taker's, if it is here; owned by instance or cut */
    struct move *next_give, *next_take;
    /* the giver's executor until it has cut */
    struct state_mover **movers;     /* [mover_count], one per keyed state */
    unsigned mover_count;
    uint64_t exported;
    _Atomic unsigned slices_wanted;  /* asked for, one per turn */
    _Atomic bool cancelled;
    _Atomic bool released;           /* the giver's executor knows it no more */
    struct stage *leaving;           /* told: what the giver had, until the helper frees it */
    /* whoever has the state: giver's executor or helper, then taker's executor */
    struct stage *stage;             /* NULL: the taker is at the peer */
    _Atomic bool arrived;            /* it is complete */
    /* the taker's executor */
    uint64_t imported_entries;
    uint32_t *pauses_us;
    uint32_t pause_count;
    _Atomic bool imported;
    /* loop, towards the peer, or the helper */
    struct give give;
    struct parcels waiting;          /* for the helper here: until `give` has them sent */
    uint64_t handed;                 /* to it: the number of the next */
    struct message *queue;           /* number queue_base and those that follow */
    size_t queue_first, queue_count, queue_capacity;
    uint64_t queue_base;
    uint64_t made;                   /* of the slice that is coming */
    uint64_t heard_us;               /* since when the peer owes an answer */
    /* loop, from the peer */
    struct take_over take;
    struct strbuf assembling;
    unsigned unsettled;              /* parcels the helper has */
    uint64_t taken_in;               /* messages that need no room here any more */
    struct fail fail;                /* before `arrived` */
};

struct moves {
    struct part *staged, *base;
    const struct part_env *env;
    char *topology;
    uint64_t op, gen;
    struct move *items;
    uint32_t count;
    struct fail fail;
    bool cancelled;
    struct timer *tick;
    uint64_t bytes_sent;
    _Atomic bool posted;
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct parcels inbox;            /* for the helper */
    struct parcels rubbish;          /* likewise, when nobody waits for anything else */
    struct parcels outcome;          /* what it has done */
    struct parcels outbox;           /* from executors */
    bool busy, stop;
    pthread_t helper;
    bool helped;                     /* there is a helper */
};

void moves_post(struct moves *ms);   /* any thread: the loop is to look at it */
void parcel_free(struct parcel *p);
void parcels_add(struct parcels *list, struct parcel *p TAKES);

#endif
