/* net/internal.h - what the files of net/ know of each other; nobody else includes it.
 *
 * Threads: the loop's. */
#ifndef OXB_NET_INTERNAL_H
#define OXB_NET_INTERNAL_H

#include "net/conn.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* Something that lives on a loop and goes with it when its owner has not ended it before. */
struct loop_item {
    struct loop_item *prev;
    struct loop_item *next;
    void (*drop)(struct loop_item *item); /* free, calling nobody back */
};
void loop_add(struct loop *l, struct loop_item *item);
void loop_remove(struct loop_item *item);

/* conn_adopt - a connection on an accepted socket.  @fd: TAKES. */
struct conn *conn_adopt(struct loop *l, int fd, const struct conn_ops *ops, void *arg,
                        struct listener *from);
void listener_release(struct listener *l); /* one of its connections is gone */

/* sockaddr_text - "127.0.0.1:80" or "[::1]:80"; `host` gets the first part; either may be NULL. */
void sockaddr_text(const struct sockaddr_storage *at, char *text, size_t text_bytes, char *host,
                  size_t host_bytes);
uint16_t sockaddr_port(const struct sockaddr_storage *at);

/* resolve_start - look the host up on a helper thread, then call `done` on the loop, once.
 * @found: freeaddrinfo is the callee's; NULL when `error` (EAI_) is not 0.
 * Return: NULL: no thread or descriptor to spare.  Gone after `done` or resolve_cancel. */
struct resolve;
struct resolve *resolve_start(struct loop *l, const struct address *what,
                              void (*done)(void *arg, int error, struct addrinfo *found),
                              void *arg);
void resolve_cancel(struct resolve *r);

#endif
