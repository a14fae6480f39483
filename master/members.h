/* master/members.h - which workers there are: joined, away for a moment, or lost.
 *
 *   UP    connected and welcomed          --connection closed-->   AWAY
 *   AWAY  closed, may still come back     --same incarnation-->    UP
 *         --silence runs out, or another incarnation joins-->      LOST
 *   LOST  that process will not be met again; the name may join anew
 *
 * Owns:       struct members, struct member.
 * Runs on:    the master loop; pure: no clock (times arrive as arguments), no sockets.
 * Invariants: M1 a name belongs to one connected process at a time.  M2 a member's id stays with
 *             its name.  M3 an incarnation that was declared lost never comes back. */
#ifndef OXB_MASTER_MEMBERS_H
#define OXB_MASTER_MEMBERS_H

#include "core/err.h"
#include "core/limits.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum member_state { MEMBER_UP, MEMBER_AWAY, MEMBER_LOST };

struct member {
    /* fixed */
    char name[NAME_BYTES_MAX + 1];
    uint64_t id;
    /* from HELLO */
    uint64_t incarnation;
    uint64_t lost_incarnation; /* the newest that was declared lost; 0: none */
    char *address;             /* HOST:PORT of the peer listener; never NULL once joined */
    char *host;                /* machine id */
    char *version;
    uint64_t pid;
    uint32_t slots;
    uint32_t threads;
    bool gpu;
    bool renews;               /* it can begin anew when it is told to: RENEW */
    json_t *labels;            /* object of strings; never NULL once joined */
    json_t *types;             /* array of descriptions; never NULL once joined */
    json_t *type_names;        /* array of their names; never NULL once joined */
    /* now */
    enum member_state state;
    bool reporting;            /* UP, but REPORT_END of this join has not come yet */
    uint64_t deadline_us;      /* AWAY: when it is lost */
    uint64_t heard_at_us;      /* last message */
    uint64_t left_us;          /* when its connection was last closed; 0: not yet */
    char crash[400];           /* what its last process died of, until that is recovered; "" */
    uint64_t renewing;         /* incarnation that was told to begin anew; 0: none */
    void *conn;                /* UP: the shell's connection; borrowed, never looked into */
};

struct members {
    struct member **items; /* in order of joining */
    size_t count, capacity;
    json_t *drained;       /* object: names of those that take no instances; NULL: none */
};

/* What HELLO says, already taken apart by translate.c; strings and JSON borrowed. */
struct member_hello {
    const char *name;
    const char *address;
    const char *host;
    const char *version;
    uint64_t protocol;
    uint64_t incarnation;
    uint64_t slots;
    uint64_t threads;
    uint64_t pid;
    uint64_t term_seen;
    bool gpu;
    bool renews;
    json_t *labels;
    json_t *types;
};

void members_fini(struct members *ms);
struct member *members_find(const struct members *ms, const char *name);
struct member *members_by_id(const struct members *ms, uint64_t id);
struct member *members_by_conn(const struct members *ms, const void *conn);
size_t members_up(const struct members *ms);

/* members_expect - somebody the store knows: AWAY until `deadline_us`. */
struct member *members_expect(struct members *ms, const char *name, uint64_t id,
                              uint64_t incarnation, uint64_t deadline_us);

/* members_check - may this process join?  Changes nothing.
 * @term: our own; a worker that has met a higher one refuses us, so we refuse it first. */
MUST_CHECK enum err members_check(const struct members *ms, const struct member_hello *h,
                                  uint64_t term, struct fail *f);

/* members_join - after members_check.
 * @id: for a name never met.  @lost: set to the incarnation that this join replaces, or 0. */
struct member *members_join(struct members *ms, const struct member_hello *h, uint64_t id,
                            void *conn, uint64_t now_us, uint64_t *lost);

/* members_closed - its connection closed: AWAY until now + patience. */
void members_closed(struct member *w, uint64_t now_us, uint64_t patience_us);

/* members_overdue - the next AWAY member whose time has run out, now LOST; NULL: none. */
struct member *members_overdue(struct members *ms, uint64_t now_us);

/* members_is_renewing - this process is there, and will not be: it was told to begin anew. */
static inline bool members_is_renewing(const struct member *w)
{
    return w->state == MEMBER_UP && w->renewing == w->incarnation;
}

bool members_is_drained(const struct members *ms, const char *name);
void members_set_drained(struct members *ms, const char *name, bool drained);

const char *member_state_name(enum member_state s); /* "up", "away", "lost" */

#endif
