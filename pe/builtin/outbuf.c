/* pe/builtin/outbuf.c - tuples as text, gathered until they are written to a descriptor.
 *
 * See:        pe/builtin/outbuf.h */
#include "pe/builtin/outbuf.h"

#include "pe/batch.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#define KEPT_BYTES_MAX (1u << 20) /* a buffer grown beyond this by large tuples is given back */

void outbuf_init(struct outbuf *b, struct oxb_pe *pe)
{
    b->is_tsv = strcmp(oxb_param_str(pe, "format"), "tsv") == 0;
}

void outbuf_fini(struct outbuf *b)
{
    strbuf_fini(&b->text);
    b->sent = 0;
}

/* compact - forget what was sent, but for the line that was sent in part. */
static void compact(struct outbuf *b)
{
    size_t whole = b->sent;
    while (whole > 0 && b->text.data[whole - 1] != '\n') {
        whole--;
    }
    if (whole < OUTBUF_WRITE_BYTES || whole < b->text.bytes / 2) {
        return;
    }
    b->text.bytes -= whole;
    b->sent -= whole;
    memmove(b->text.data, b->text.data + whole, b->text.bytes + 1); /* with the NUL */
}

void outbuf_add(struct outbuf *b, const struct oxb_batch *in)
{
    compact(b);
    OXB_EACH (in, i) {
        if (b->is_tsv) {
            batch_tsv_row(in, i, &b->text);
        } else {
            batch_json_row(in, i, &b->text);
        }
        strbuf_char(&b->text, '\n');
    }
}

void outbuf_sent(struct outbuf *b, size_t bytes)
{
    b->sent += bytes;
    if (b->sent < b->text.bytes) {
        return;
    }
    b->sent = 0;
    if (b->text.capacity > KEPT_BYTES_MAX) {
        strbuf_fini(&b->text);
    } else {
        strbuf_clear(&b->text);
    }
}

void outbuf_rewind(struct outbuf *b)
{
    while (b->sent > 0 && b->text.data[b->sent - 1] != '\n') {
        b->sent--;
    }
}

int outbuf_write(struct outbuf *b, int fd)
{
    while (outbuf_left(b) > 0) {
        ssize_t n = write(fd, b->text.data + b->sent, outbuf_left(b));
        if (n >= 0) {
            outbuf_sent(b, (size_t)n);
        } else if (errno == EAGAIN) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            poll(&p, 1, -1);
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}
