/* tests/sim/image.h - what a plan says, laid out for quick simulation.
 *
 * Owns:       struct image: instances and channels of V and V' in one numbering, with the wiring of
 *             both sides, the members of the covering set, the moves of state, and what an oracle
 *             needs to know: who is reached how often, and where order is promised.
 * Runs on:    anywhere; made once per plan, read by every schedule of it.
 * Why:        everything that decides comes from the planner itself (topology/plan.h): covering
 *             set, lists of channels, owners of key groups, moves.  Nothing is decided here. */
#ifndef OXB_TESTS_SIM_IMAGE_H
#define OXB_TESTS_SIM_IMAGE_H

#include "topology/plan.h"

enum { SIDE_V = 0, SIDE_NEW = 1, SIDES = 2 };
enum kind { KIND_SOURCE, KIND_ONE, KIND_MANY, KIND_KEYED, KIND_FINAL, KIND_SINK };
enum { KEYS = 4 };                /* different keys that tuples carry */
enum { NONE = INDEX_NONE };

struct istream {                  /* one stream leaving one instance, on one side */
    enum { TO_ONE, TO_ANY, TO_KEY, TO_ALL } route;
    bool by_seq;                  /* TO_KEY: by the other field */
    uint32_t stream;              /* number in the topology of its side */
    const uint16_t *owners;       /* TO_KEY: group -> number in channels */
    uint32_t *channels;
    uint32_t count;
};

struct iwiring {
    uint32_t *inputs;             /* channels */
    uint32_t input_count;
    struct istream *streams;
    uint32_t stream_count;
};

struct inode {                    /* an instance of V, of V', or of both */
    uint32_t pe, index, worker;
    bool there[SIDES];
    bool member, head, token;
    enum cover_role role;         /* of a member */
    struct iwiring side[SIDES];
    bool *awaited;                /* [inputs of V] */
    uint32_t *marks, *closes, *opens;
    uint32_t mark_count, close_count, open_count;
    uint32_t heir;                /* node whose place it takes, or NONE */
    uint32_t source;              /* number of a source instance; a mover has its heir's */
    uint32_t order[SIDES];        /* of calls: producers before consumers */
};

struct ichannel {
    uint32_t from, to;
    bool there[SIDES];
    bool fused, remote;
    bool new_side;                /* of V' only */
    uint32_t input[SIDES];        /* number among the inputs of `to` */
};

struct ipe {                      /* those of V', then those of V only */
    bool there[SIDES];
    enum kind kind;
    bool effects;
    uint16_t *owners[SIDES];      /* [KEY_GROUPS]: instance index */
    bool *ordered;                /* [sources]: order per key is promised here */
    uint16_t *reach[SIDES];       /* [PEs]: how often a tuple born here is processed there */
};

struct imove {
    uint32_t from, to;            /* nodes */
    const uint8_t *groups;
    bool other;
};

struct image {
    const struct plan *plan;
    struct inode *nodes;
    uint32_t node_count;
    struct ichannel *channels;
    uint32_t channel_count;
    struct ipe *pes;
    uint32_t pe_count;
    struct imove *moves;
    uint32_t move_count;
    uint32_t worker_count;
    uint32_t source_count;        /* source instances */
    uint32_t *source_pe;          /* [sources] */
    uint32_t *node_of_new, *channel_of_new; /* instances, channels of V' -> number here */
    uint32_t amplification;       /* processings of one source tuple, at most */
    bool exact;
};

/* image_make - borrows the plan.  @final_pes: bit p: PE p, if keyed, emits at its end only. */
struct image *image_make(const struct plan *p, uint64_t final_pes);
void image_free(struct image *im);

#endif
