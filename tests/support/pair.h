/* tests/support/pair.h - a running master, two fake workers, and a topology that runs on them.
 *
 * The topology `t` is numbers -> work (parallelism 2) -> end, so that both workers hold a part of
 * it; pair_yaml makes others of it.  Everything here fails the test when it does not come. */
#ifndef OXB_TESTS_PAIR_H
#define OXB_TESTS_PAIR_H

#include "tests/support/fake_worker.h"
#include "tests/support/running_master.h"

struct told { /* what a PREPARE said */
    uint64_t term, gen, op, base, version;
    size_t added, removed, channels;
    uint64_t channel;  /* id of the first one added; 0: none */
    uint64_t ids[64]; /* of added instances, then of kept ones: all that a report may name */
    size_t outputs[64]; /* ports of each */
    size_t id_count;
};

struct pair {
    struct running_master r;
    struct fake_worker w[2]; /* "w1", "w2" */
    uint64_t at_us;          /* of the last report */
};

void pair_start(struct pair *p);
void pair_stop(struct pair *p);
void pair_rejoin(struct pair *p, unsigned i, const struct told *t); /* the same process */
/* pair_yaml - `work` has parallelism `count` and lets pass what is >= `least`; static. */
const char *pair_yaml(unsigned count, int least);
void pair_deploy(struct pair *p, struct told t[2]);
void pair_deploy_this(struct pair *p, const char *yaml, struct told t[2]);
/* pair_ask - POST; caller decrefs.  @path: below /v1/topologies/t/. */
json_t *pair_ask(struct pair *p, const char *path, const char *yaml, int status);
json_t *pair_get(struct pair *p, const char *path);
/* pair_receipt - of a version; waits for it; caller decrefs. */
json_t *pair_receipt(struct pair *p, uint64_t version);
/* pair_upgrade - ask for `yaml`; both are told. */
void pair_upgrade(struct pair *p, const char *yaml, struct told t[2]);
/* pair_state - wait until the topology is in that state. */
void pair_state(struct pair *p, const char *wanted);

struct told told_prepare(struct fake_worker *w);
void told_ready(struct fake_worker *w, const struct told *t, const char *why_not);
void told_done(struct fake_worker *w, const struct told *t);
/* told_all - both ready, both GO, both done. */
void told_all(struct pair *p, const struct told t[2]);

#endif
