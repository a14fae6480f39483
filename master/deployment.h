/* master/deployment.h - one topology as the master sees it: what should run, and what is reported.
 *
 *   DEPLOYING --went--> RUNNING --stop--> DRAINING --ended--> STOPPED
 *       |                  |  \--ended--> FINISHED
 *       \--aborted/failed--+----failed--> FAILED             (states: net/states.h)
 *
 * Owns:       struct deployment: the plan's texts, the model, the graph, the views of instances and
 *             channels, the change under way.
 * Runs on:    the master loop; pure: no clock, no sockets.
 * Invariants: D1 FINISHED, STOPPED and FAILED are final.  D2 parts[i] belongs to graph->workers[i].
 *             D3 a report counts only with this gen, from the incarnation that holds the part.
 * See:        tests/unit/master/deployment_test.c */
#ifndef OXB_MASTER_DEPLOYMENT_H
#define OXB_MASTER_DEPLOYMENT_H

#include "core/err.h"
#include "core/strbuf.h"
#include "master/carry.h"
#include "master/change.h"
#include "master/keeping.h"
#include "net/states.h"
#include "topology/physical.h"

#define SAMPLES 6 /* reports over which a rate is taken: 3 s */

struct sample {
    uint64_t at_us; /* the worker's clock */
    uint64_t in, out, busy_us, blocked_us;
};

struct samples { /* a ring; the newest at `last` */
    struct sample items[SAMPLES];
    unsigned count, last;
};

struct instance_view {
    /* fixed */
    uint64_t id;
    uint32_t number;         /* index in graph->instances */
    /* as reported, cumulative */
    unsigned state;          /* enum instance_state; 0: no report yet */
    uint64_t tuples_in, tuples_out, batches_in, batches_out, bytes_in, bytes_out;
    uint64_t errors, busy_us, blocked_us;
    uint64_t state_bytes;    /* of keyed tables, at present */
    uint64_t failed;         /* tuples given up */
    uint64_t held;           /* number of the hold; 0: not held */
    uint64_t kept;           /* tuples that wait at it */
    uint64_t call_us;        /* stuck for so long */
    bool had_ended;          /* in the checkpoint it was restored from: it only ends again */
    char *held_tuple, *held_stream; /* NULL: none */
    uint64_t told_held;      /* of events: the hold they told of; 0: none */
    bool told_stuck;
    char *error;             /* NULL: none */
    char *metrics;           /* the PE's own, JSON; NULL: none */
    struct strbuf latency;   /* hist_encode, checked */
    struct samples samples;
};

struct channel_view {
    /* fixed */
    uint64_t id;
    uint32_t number;         /* index in graph->channels */
    uint32_t from_part, to_part;
    /* from the sender's worker */
    uint64_t sent, depth_from;
    uint64_t reach, retained; /* of its log: checkpoint it reaches back to + 1, 0: none; bytes */
    /* from the receiver's worker */
    uint64_t received, depth_to, gaps, repeats, reordered, compared, mismatched;
    bool ended;
    struct samples samples;  /* out: sent */
};

struct part { /* what one worker holds of it */
    uint64_t worker_id;
    uint64_t incarnation;
    bool used;               /* offered workers may hold nothing */
    bool involved;           /* told of the change: holds something before or after it */
    unsigned state;          /* enum deployment_state; 0: no report yet */
    bool reported;           /* since its worker last joined */
    bool older;              /* likewise: one of a generation before is there */
    uint64_t pool_bytes;
    struct strbuf latency;   /* end to end; hist_encode, checked */
    uint64_t committed;      /* newest checkpoint whose output its sinks have committed */
};

enum stop_asked { STOP_NONE, STOP_DRAIN, STOP_NOW };

struct deployment {
    /* fixed when planned */
    char *name;
    uint64_t version;
    struct change_token token;
    char *yaml, *base_dir, *artifacts, *types; /* as in struct store_version */
    char *digest;
    int64_t created_at_us;
    struct catalog *catalog;     /* what the model borrows from; NULL once over and reloaded */
    struct topology *topology;   /* NULL: over before this master started; see `final` */
    struct pgraph *graph;        /* as topology */
    struct part *parts;          /* [graph->worker_count] (D2) */
    struct instance_view *instances; /* [graph->instance_count], in order of id */
    struct channel_view *channels;   /* [graph->channel_count], in order of id */
    uint32_t pe_count, instance_count, worker_count; /* valid also without a graph */
    /* now */
    unsigned state;              /* enum topology_state */
    enum stop_asked stop_asked;
    struct change change;        /* valid while graph is not NULL */
    bool changing;
    bool timing;                 /* the change asked for its deadline */
    uint64_t deadline_us;
    struct deployment *next;     /* the version it is changing to; owned; NULL: none */
    struct keeping *keeping;     /* checkpoints and recovery; owned; NULL: it takes none */
    struct {
        uint64_t from;           /* version; 0: none */
        json_t *repairs;         /* repair.h; NULL: it is a rollback */
    } back;                      /* a version made by a recovery that is not over */
    bool waits;                  /* its change decides when a checkpoint is over */
    json_t *drops;               /* upgrade_drops, also after a restart; NULL: deployed */
    struct upgrade *upgrade;     /* how this version came from another; NULL: deployed */
    struct carry carry;          /* counters of what changes have removed */
    struct {                     /* what the ledgers found since it was last told */
        uint64_t gaps, repeats, reordered, mismatched;
        uint32_t stream;         /* one that is concerned */
    } faults;
    uint64_t last_version;       /* highest number given to a version, taken or not */
    /* why it failed; valid when state is TOPOLOGY_FAILED */
    struct fail fail;
    char fail_where[128];
    char *final;                 /* JSON status, once over; NULL: not made yet */
};

/* ---- the life of the whole: a table ---- */
enum life_event {
    LIFE_WENT,      /* the change is done: it runs everywhere */
    LIFE_ABORTED,   /* given up before the decision */
    LIFE_CANCELLED, /* the same, because somebody asked to stop */
    LIFE_STOP,      /* drain and stop */
    LIFE_STOP_NOW,  /* stop without draining */
    LIFE_ENDED,     /* every part has ended by itself */
    LIFE_FAILED,    /* an instance failed, or a worker was lost */
    LIFE_LOST,      /* a worker was lost, and there are checkpoints to go on from */
    LIFE_EVENTS
};
enum life_do { /* bits */
    LIFE_DO_CANCEL = 1, /* cancel the change */
    LIFE_DO_DRAIN = 2,  /* STOP to every worker */
    LIFE_DO_DROP = 4,   /* STOP now to every worker */
    LIFE_DO_RETIRE = 8, /* STOP retire to every worker */
    LIFE_DO_SAVE = 16   /* write the new state */
};
/* life_step - the next state, and what to do.  Return: bits of enum life_do; 0 with *to == from
 * when the event does not matter there. */
unsigned life_step(unsigned from, enum life_event on, unsigned *to);

/* deployment_init_views - parts, instances, channels from graph; the caller fills `parts`. */
void deployment_init_views(struct deployment *d);
/* deployment_drop_graph - undo it: the graph is somebody else's again. */
void deployment_drop_graph(struct deployment *d);
void deployment_free(struct deployment *d);
/* deployment_regraph - the same topology on another graph: parts begin anew, and views but for
 * those of instances and channels that are in both. */
void deployment_regraph(struct deployment *d, struct pgraph *g TAKES);

/* deployment_take_views - what is known of instances and channels that are in both, of parts on the
 * same workers too: from `was`, which loses it. */
void deployment_take_views(struct deployment *d, struct deployment *was);

bool deployment_is_over(const struct deployment *d);
struct part *deployment_part(struct deployment *d, uint64_t worker_id);
/* deployment_involved - also one that holds nothing of it any more, or not yet. */
struct part *deployment_involved(struct deployment *d, uint64_t worker_id);
struct instance_view *deployment_instance(struct deployment *d, uint64_t id);
struct channel_view *deployment_channel(struct deployment *d, uint64_t id);
/* deployment_all_ended - has every used part ended? */
bool deployment_all_ended(const struct deployment *d);
/* deployment_slots - how many instances the worker holds of it. */
uint32_t deployment_slots(const struct deployment *d, uint64_t worker_id);

void samples_add(struct samples *s, struct sample now);
/* samples_span - oldest and newest sample; false with fewer than two or no time between them. */
bool samples_span(const struct samples *s, struct sample *oldest, struct sample *newest);

/* ---- all of them ---- */
struct deployments {
    struct deployment **items; /* in order of name; the newest version of each */
    size_t count, capacity;
};
void deployments_fini(struct deployments *ds);
struct deployment *deployments_find(const struct deployments *ds, const char *name);
/* deployments_put - in place of an older version, which is freed. */
void deployments_put(struct deployments *ds, struct deployment *d TAKES);
void deployments_remove(struct deployments *ds, struct deployment *d TAKES);

#endif
