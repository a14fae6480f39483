/* worker/link.c - the peer links of a worker: listening, finding, removing. */
#include "worker/link.h"

#include "core/log.h"
#include "core/mem.h"
#include "worker/link_own.h"

#include <stdio.h>
#include <string.h>

static void listener_message(void *arg, struct conn *c, struct msg *m);
static void listener_closed(void *arg, struct conn *c, const char *why);

static const struct conn_ops listener_ops = {.on_message = listener_message,
                                             .on_closed = listener_closed};

struct links *links_new(struct loop *l, struct pool *pool, const struct address *listen,
                        const struct links_ops *ops, void *arg, struct fail *f)
{
    struct links *ls = mem_alloc(sizeof *ls);
    *ls = (struct links){.loop = l, .pool = pool, .ops = *ops, .arg = arg};
    ls->listener = listener_open(l, listen, WORKERS_MAX, &listener_ops, ls, f);
    if (ls->listener == NULL) {
        mem_free(ls);
        return NULL;
    }
    return ls;
}

void links_identity(struct links *ls, const char *name, uint64_t incarnation)
{
    snprintf(ls->name, sizeof ls->name, "%s", name);
    ls->incarnation = incarnation;
}

uint16_t links_port(const struct links *ls)
{
    return listener_port(ls->listener);
}

void links_free(struct links *ls)
{
    if (ls == NULL) {
        return;
    }
    listener_close(ls->listener);
    while (ls->outs != NULL) {
        out_free(ls->outs);
    }
    while (ls->ins != NULL) {
        in_free(ls->ins);
    }
    mem_free(ls);
}

/* Both directions carry it: a worker may have channels from a peer and none towards it. */
void links_send_go(struct links *ls, const struct msg_LINK_GO *go)
{
    struct msg m = {.kind = M_LINK_GO, .LINK_GO = *go};
    for (struct link_out *o = ls->outs; o != NULL; o = o->next) {
        if (o->wire != NULL) {
            wire_send(o->wire, &m);
        }
    }
    for (struct link_in *i = ls->ins; i != NULL; i = i->next) {
        if (i->wire != NULL) {
            wire_send(i->wire, &m);
        }
    }
}

bool links_answer(struct links *ls, const char *name, uint64_t incarnation, const struct msg *m)
{
    for (struct link_in *i = ls->ins; i != NULL; i = i->next) {
        if (i->incarnation == incarnation && i->wire != NULL && strcmp(i->name, name) == 0) {
            wire_send(i->wire, m);
            return true;
        }
    }
    return false;
}

unsigned links_count(const struct links *ls)
{
    unsigned n = 0;
    for (const struct link_out *o = ls->outs; o != NULL; o = o->next) {
        n++;
    }
    for (const struct link_in *i = ls->ins; i != NULL; i = i->next) {
        n++;
    }
    return n;
}

void link_remove(struct channel *c)
{
    if (c->kind == CHANNEL_OUT && c->out != NULL) {
        out_remove(c->out, c);
    } else if (c->kind == CHANNEL_IN && c->in != NULL) {
        in_remove(c->in, c);
    }
    c->out = NULL;
    c->in = NULL;
}

/* ---------------------------------------------------------------- who knocks */

static void refuse(struct conn *c, const char *what)
{
    struct msg m = {.kind = M_REFUSED};
    m.REFUSED.what = what;
    m.REFUSED.hint = "";
    conn_send(c, &m);
    conn_close(c, what);
}

static void listener_message(void *arg, struct conn *c, struct msg *m)
{
    struct links *ls = arg;
    if (m->kind != M_LINK_HELLO) {
        conn_close(c, "expected LINK_HELLO");
    } else if (m->LINK_HELLO.peer_incarnation != ls->incarnation) {
        refuse(c, "this is another incarnation of that worker");
    } else if (strlen(m->LINK_HELLO.name) > NAME_BYTES_MAX || m->LINK_HELLO.protocol < 1) {
        refuse(c, "malformed LINK_HELLO");
    } else {
        in_accept(ls, c, &m->LINK_HELLO);
    }
}

static void listener_closed(void *arg, struct conn *c, const char *why)
{
    (void)arg;
    log_event(LOG_INFO, "link.refused", "peer=%s why=\"%s\"", conn_peer(c), why);
}
