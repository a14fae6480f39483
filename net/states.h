/* net/states.h - the states that cross the wire, with their names as people and JSON see them. */
#ifndef OXB_NET_STATES_H
#define OXB_NET_STATES_H

enum instance_state {      /* of one instance, as its worker reports it */
    INSTANCE_PREPARED = 1, /* made, not yet gone */
    INSTANCE_RUNNING,
    INSTANCE_ENDED,        /* all inputs (or the source) ended, finish ran, end passed on */
    INSTANCE_FAILED,       /* its error text says why */
    INSTANCE_RETIRED,      /* an upgrade took its place */
    INSTANCE_HELD,         /* it keeps a tuple it cannot process, and its input; the rest goes on */
    INSTANCE_STUCK,        /* only in reports: it has not come back from a call for long */
};

enum deployment_state {      /* of one topology's part on one worker */
    DEPLOYMENT_PREPARING = 1,
    DEPLOYMENT_READY,
    DEPLOYMENT_RUNNING,
    DEPLOYMENT_DRAINING,     /* sources were told to end */
    DEPLOYMENT_ENDED,        /* every instance here has ended and every link is drained */
    DEPLOYMENT_FAILED,       /* some instance here failed */
};

enum topology_state {        /* as the master sees the whole; stored by name */
    TOPOLOGY_DEPLOYING = 1,
    TOPOLOGY_RUNNING,
    TOPOLOGY_DRAINING,       /* stop was asked for */
    TOPOLOGY_FINISHED,       /* sources ended by themselves, all drained */
    TOPOLOGY_STOPPED,        /* after stop */
    TOPOLOGY_FAILED,
    TOPOLOGY_RECOVERING,         /* a worker was lost; it goes on from its last checkpoint */
    TOPOLOGY_STATES
};

enum plan_partitioning { PLAN_BALANCED, PLAN_KEYED, PLAN_BROADCAST }; /* STREAM_SPEC */

enum plan_role { PLAN_OLD, PLAN_NEW, PLAN_STAYING, PLAN_ADOPTED }; /* MEMBER_SPEC */

enum state_kind { STATE_PIECES = 1, STATE_OTHER, STATE_FINAL, STATE_WHERE }; /* LINK_STATE */

enum plan_then { PLAN_STOP, PLAN_DROP, PLAN_HOLD, PLAN_DEAD_LETTER }; /* INSTANCE_SPEC.then */

/* INSTANCE_SPEC.care: held from its start; or it is given its tuples one by one, and the one that
 * kills is told by its sum. */
enum plan_care { CARE_NONE, CARE_HOLD, CARE_SINGLY };

static inline const char *instance_state_name(unsigned s)
{
    static const char *const names[] = {"unknown", "prepared", "running", "ended",
                                        "failed",  "retired",  "held",    "stuck"};
    return s < sizeof names / sizeof names[0] ? names[s] : "unknown";
}

static inline const char *topology_state_name(unsigned s)
{
    static const char *const names[] = {"unknown",  "deploying", "running", "draining",
                                        "finished", "stopped",   "failed",  "recovering"};
    return s < sizeof names / sizeof names[0] ? names[s] : "unknown";
}

#endif
