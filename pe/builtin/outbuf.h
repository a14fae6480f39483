/* pe/builtin/outbuf.h - tuples as text, gathered until they are written to a descriptor.
 *
 * Owns:       struct outbuf: the text, and how much of it was written.
 * Invariants: O1 a batch is taken only after what was there before fits: outbuf_write first, then
 *             outbuf_add.  So an error leaves the whole batch to be tried again, and no tuple is
 *             written twice.
 *             O2 after an error what was not written is kept and written first next time. */
#ifndef OXB_PE_BUILTIN_OUTBUF_H
#define OXB_PE_BUILTIN_OUTBUF_H

#include "core/strbuf.h"
#include "pe/pe.h"

#define OUTBUF_WRITE_BYTES (64u << 10) /* enough that the call's cost does not show */

struct outbuf { /* a zeroed struct is empty and valid */
    struct strbuf text;
    size_t sent; /* bytes of text written */
    bool is_tsv;
};

void outbuf_init(struct outbuf *b, struct oxb_pe *pe); /* reads the parameter `format` */
void outbuf_fini(struct outbuf *b);
void outbuf_add(struct outbuf *b, const struct oxb_batch *in); /* a line per live row */
static inline size_t outbuf_left(const struct outbuf *b)
{
    return b->text.bytes - b->sent;
}
/* outbuf_sent - `bytes` more were written. */
void outbuf_sent(struct outbuf *b, size_t bytes);
/* outbuf_rewind - go back to the begin of the line that was written in part, if any: another
 * receiver begins with a whole line. */
void outbuf_rewind(struct outbuf *b);
/* outbuf_write - write everything to `fd`, waiting while it takes none.  Return: 0, or errno. */
int outbuf_write(struct outbuf *b, int fd);

/* The row of `format` in a sink's table of parameters. */
#define OUTBUF_PARAM                                                                               \
    {                                                                                              \
        .name = "format", .type = OXB_P_ENUM, .fallback = "jsonl", .choices = "jsonl tsv",         \
        .doc = "jsonl: one JSON object per line; tsv: the values between tabs"                     \
    }

#endif
