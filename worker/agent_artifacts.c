/* worker/agent_artifacts.c - what a part needs from the master before it can be prepared. */
#include "core/file.h"
#include "core/mem.h"
#include "worker/agent_own.h"

#include <stdio.h>
#include <string.h>

static void ask_artifact(struct agent *a)
{
    struct msg m = {.kind = M_ARTIFACT_GET};
    m.ARTIFACT_GET.digest = a->fetch.digest;
    m.ARTIFACT_GET.offset = a->fetch.bytes.bytes;
    conn_send(a->conn, &m);
}

static void begin_part(struct agent *a, struct part *d)
{
    const char *digest = part_artifact(d);
    if (digest == NULL) {
        part_prepare(d);
    } else if (!sha256_is_hex(digest)) {
        d->failed = true;
        (void)fail_set(&d->fail, ERR_INVALID, "", "malformed artifact digest");
        d->env->on_prepared(d->env->arg, d);
    } else if (!a->fetch.active && a->joined) {
        a->fetch.active = true;
        snprintf(a->fetch.digest, sizeof a->fetch.digest, "%s", digest);
        strbuf_clear(&a->fetch.bytes);
        ask_artifact(a);
    }
}

/* Start what can start: fetch the next artifact somebody lacks, prepare those who lack none. */
void agent_advance(struct agent *a)
{
    for (struct part *p = a->parts; p != NULL; p = p->next) {
        struct part *d = p->pending != NULL ? p->pending : p;
        if (!d->dropping && !d->preparing && d->state == DEPLOYMENT_PREPARING) {
            begin_part(a, d);
        }
    }
    for (struct part *d = NULL; (d = wills_waiting(&a->wills, d)) != NULL;) {
        begin_part(a, d);
    }
}

void agent_advance_all(void *arg)
{
    agent_advance(arg);
}

void agent_on_lacking(void *arg, struct part *d)
{
    (void)d;
    agent_advance(arg);
}

static void fail_waiting(struct agent *a, const char *what)
{
    for (struct part *p = a->parts; p != NULL; p = p->next) {
        struct part *d = p->pending != NULL ? p->pending : p;
        const char *digest = d->preparing || d->dropping || d->state != DEPLOYMENT_PREPARING
                                 ? NULL
                                 : part_artifact(d);
        if (digest != NULL && strcmp(digest, a->fetch.digest) == 0) {
            d->failed = true;
            d->state = DEPLOYMENT_FAILED;
            (void)fail_set(&d->fail, ERR_NOTFOUND, "deploy again", "artifact %.12s: %s", digest,
                           what);
            agent_on_prepared(a, d);
        }
    }
    for (struct part *d = NULL; (d = wills_waiting(&a->wills, d)) != NULL;) {
        const char *digest = part_artifact(d);
        if (digest != NULL && strcmp(digest, a->fetch.digest) == 0) {
            (void)fail_set(&d->fail, ERR_NOTFOUND, "", "artifact %.12s: %s", digest, what);
            wills_fail(&a->wills, d);
        }
    }
}

void agent_artifact_chunk(struct agent *a, const struct msg_ARTIFACT_CHUNK *c)
{
    struct fetch *fetch = &a->fetch;
    if (!fetch->active || strcmp(c->digest, fetch->digest) != 0 ||
        c->offset != fetch->bytes.bytes) {
        return;
    }
    bool bad = c->missing || c->total > HTTP_ARTIFACT_BYTES_MAX ||
               (c->data.bytes == 0 && c->total > c->offset);
    if (!bad) {
        strbuf_add(&fetch->bytes, c->data.data, c->data.bytes);
        if (fetch->bytes.bytes < c->total) {
            ask_artifact(a);
            return;
        }
    }
    char digest[SHA256_HEX_BYTES];
    sha256_hex(fetch->bytes.data, fetch->bytes.bytes, digest);
    struct fail f = {.what = "the master does not have it"};
    if (!bad && strcmp(digest, fetch->digest) != 0) {
        (void)fail_set(&f, ERR_CORRUPT, "", "the bytes received have another digest");
        bad = true;
    }
    if (!bad) {
        char *file = mem_printf("%s/%s.so", a->artifact_dir, digest);
        bad = file_make_dirs(a->artifact_dir, &f) != ERR_OK ||
              file_write_safe(file, fetch->bytes.data, fetch->bytes.bytes, &f) != ERR_OK;
        mem_free(file);
    }
    fetch->active = false;
    if (bad) {
        fail_waiting(a, f.what);
    }
    agent_advance(a);
}
