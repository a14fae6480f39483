/* master/events.h - what happens, in order, for whoever follows: GET /v1/events.
 *
 * Owns:       struct events: the newest events, and the readers that follow.
 * Runs on:    the master loop.
 * Invariants: V1 ids rise, also from one life of the master to the next: the term is their upper
 *             half.  V2 a reader gets every event after the id it names, or is told (`missed`)
 *             that some are gone.  V3 a reader that lets EVENT_READER_BYTES_MAX pile up is dropped:
 *             nobody is waited for.  V4 all that is kept fits what a reader may leave unread, so
 *             that none is dropped for going on where it was. */
#ifndef OXB_MASTER_EVENTS_H
#define OXB_MASTER_EVENTS_H

#include "master/http.h"

#include <jansson.h>

struct event_reader;

struct event_line {
    char *topology; /* or NULL: of none */
    size_t bytes;   /* of text */
    char *text;     /* as it goes over the wire */
};

struct events {
    struct event_line *ring; /* [EVENTS_KEPT], by id */
    uint64_t first, next;    /* ids kept: first <= id < next */
    size_t bytes;            /* of all texts */
    struct event_reader *readers;
    unsigned reader_count;
    uint64_t beat_at_us;
};

void events_init(struct events *e, uint64_t term);
void events_fini(struct events *e); /* after http_close: readers have gone */
/* events_add - @kind: a word.  @topology: NULL: of none.  @body: an object; gets id, kind, at. */
void events_add(struct events *e, const char *kind, const char *topology, json_t *body TAKES);
/* events_last - id of the newest event; a reader that names it gets what comes after. */
uint64_t events_last(const struct events *e);
/* events_follow - answers `x`, now or with what comes.
 * @after: 0: only what comes.  @topology: only its events; "": all. */
void events_follow(struct events *e, struct exchange *x TAKES, uint64_t after,
                   const char *topology);
void events_tick(struct events *e, uint64_t now_us);

#endif
