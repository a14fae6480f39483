/* tests/support/scene.h - two ends of real connections on one loop, and what each end saw.
 *
 * A test lets the ends act, then waits for a counter: nothing sleeps, deadlines only bound failure.
 * Threads: one. */
#ifndef OXB_TESTS_SCENE_H
#define OXB_TESTS_SCENE_H

#include "net/conn.h"

struct scene;
struct side { /* what one end saw */
    struct scene *scene;
    struct conn *conn; /* the last one it heard of; NULL once that is closed */
    unsigned opened;
    unsigned messages;
    unsigned closed;
    char why[320]; /* of the last close */
    enum msg_kind kind;
    uint64_t number; /* GO.op of the last GO */
    size_t bytes;    /* ARTIFACT_CHUNK.data of the last one */
    /* called first in on_open (m is NULL) and on_message; may be NULL */
    void (*act)(struct side *side, struct conn *c, const struct msg *m);
};

struct scene {
    struct loop *loop;
    struct listener *listener; /* on 127.0.0.1, a free port; accepts at most 8 */
    struct address address;    /* of the listener */
    struct side server;
    struct side client;
    /* of the wait going on */
    struct timer *deadline;
    const unsigned *counter;
    unsigned target;
    bool late;
};

extern const struct conn_ops side_ops; /* arg: struct side */

void scene_init(struct scene *s);
void scene_fini(struct scene *s);
struct conn *scene_dial(struct scene *s); /* a client connection to the listener */
/* scene_wait - run the loop until *counter >= target.  Fails the test after `ms`. */
void scene_wait(struct scene *s, const unsigned *counter, unsigned target, unsigned ms);
void scene_check(struct scene *s);                 /* a counter of the test's own has changed */
void scene_turns(struct scene *s, unsigned turns); /* just let what is due happen */

/* A peer without manners: a plain blocking socket. */
int raw_dial(const struct scene *s);
void raw_send(int fd, const void *data, size_t bytes); /* as much as fits */
bool raw_is_closed(int fd);                            /* by the other end; does not wait */
unsigned open_descriptors(void);                       /* of this process */

void send_go(struct conn *c, uint64_t op);
void send_chunk(struct conn *c, size_t bytes);

#endif
