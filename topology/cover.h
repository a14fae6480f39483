/* topology/cover.h - which instances must agree on the place of a cut: the covering set.
 *
 * Owns:       struct cover: the members, what each waits for and does, and why it is one.
 * Runs on:    anywhere; pure.
 * Invariants: C1 it is the least set that holds D (changed, new, old, moved; owners of moved
 *                groups; senders whose key map changes; both ends of every channel that is not
 *                the same) and is closed over paths, forks and order as the options say.
 *             C2 a head exists in V and has no input of V from another member; a new instance is
 *                never one.
 *             C3 who is not a member keeps behaviour, worker and all of its channels.
 *             C4 waiting follows channels of V only, which have no cycle.
 * See:        docs/PROTOCOL.md section 1; relocate.h for closure c. */
#ifndef OXB_TOPOLOGY_COVER_H
#define OXB_TOPOLOGY_COVER_H

#include "topology/match.h"
#include "topology/relocate.h"

enum cover_closure { /* bits */
    COVER_PATH = 1,         /* a: who lies on a path between two members */
    COVER_FORK = 2,         /* b: who makes copies, two of which reach members */
    COVER_ORDER = 4,        /* c: consumers of relocated PEs, and where two ways meet */
    COVER_ENDS = 8,         /* of D: both ends of every changed channel, and re-routing senders */
    COVER_MANY = 16,        /* b, source-wide: who emits many and reaches a member; not a default */
    COVER_ALL = 32,         /* every instance, as soon as there is one member */
};
#define COVER_EXACT (COVER_PATH | COVER_FORK | COVER_ORDER | COVER_ENDS)
/* Without the path closure a head may stand below a member that still waits: what it sends anew
 * waits for a cut that waits for the queues above it, and nothing moves any more (I4). */
#define COVER_PER_PE (COVER_PATH | COVER_ORDER | COVER_ENDS)
#define COVER_GLOBAL (COVER_EXACT | COVER_ALL)

struct cover_options {
    unsigned closures;      /* of the bits above; tests and simulator switch some off */
};
/* cover_options_of - what `upgrade.consistency` of V' asks for. */
struct cover_options cover_options_of(const struct topology *to);

enum cover_role {
    ROLE_OLD,               /* in V only */
    ROLE_NEW,               /* in V' only: born cut */
    ROLE_STAYING,           /* passes the marker, maybe re-routes; its code and state go on */
    ROLE_ADOPTED            /* replaced on the same worker, keeping the channels that stay */
};

enum cover_why { /* bits */
    WHY_CHANGED = 1,        /* behaviour, place, or being there at all */
    WHY_GROUPS = 2,         /* wins or loses key groups */
    WHY_CHANNEL = 4,        /* an end of a changed channel, or sends by a changed key map */
    WHY_PATH = 8,
    WHY_FORK = 16,
    WHY_ORDER = 32,
    WHY_GLOBAL = 64         /* the topology wants one cut for all of it */
};

enum cover_list {
    LIST_OLD_INPUTS,        /* of V, from members: their marker or close is waited for */
    LIST_NEW_INPUTS,        /* of V' only: blocked until the cut */
    LIST_STAYING_OUTPUTS,   /* of V, to members: carry the marker */
    LIST_OLD_OUTPUTS,       /* of V only: closed at the cut */
    LIST_NEW_OUTPUTS,       /* of V' only: opened at the cut */
    LIST_COUNT
};

struct index_list {
    const uint32_t *items;  /* channels of V, or of V' for the two NEW lists; ascending */
    uint32_t count;
};

struct cover_member {
    uint32_t old, new;      /* instance in V and in V', or INDEX_NONE */
    enum cover_role role;
    bool head;
    bool relocated;         /* its PE is */
    bool token;             /* R11: new instances of its PE wait until all old ones have cut */
    unsigned why;           /* enum cover_why */
    struct index_list lists[LIST_COUNT];
};

struct cover {
    struct cover_member *members; /* those in V by their number there, then the new ones */
    uint32_t member_count;
    uint32_t head_count;
    uint32_t *of_old;       /* [instances of V]: member number, or INDEX_NONE */
    uint32_t *of_new;       /* [instances of V'] */
    uint32_t channels_inside; /* of V; 0: nothing travels, every member cuts at its GO */
    uint32_t depth;         /* longest way inside, in channels: markers one after the other */
    uint32_t hops;          /* of these on one way, at most, between two workers */
    bool *rerouted;         /* [PEs of V']: the key map changes */
    struct relocation relocation;
    uint32_t *pool;         /* what the lists point into */
};

struct cover *cover_find(const struct match *m, const struct diff *d,
                         const struct cover_options *options);
void cover_free(struct cover *c);
const char *cover_role_name(enum cover_role role); /* "old" */
/* cover_why_text - "changed, path"; caller frees. */
char *cover_why_text(unsigned why);

#endif
