/* pe/builtin/lines.h - bytes as they come from a file or socket, cut into lines of text.
 *
 * Owns:       struct lines: one growing buffer, bounded by TUPLE_BYTES_MAX and a read.
 * Invariants: L1 what lines_next gives stays valid until lines_space or lines_clear.
 *             L2 no byte is searched twice for a newline.
 *             L3 text put into a str column is UTF-8: each malformed part is replaced by U+FFFD.
 * Why:        whether a whole buffer is ASCII is found at memory speed when it is filled, so that
 *             only lines of buffers that are not need a check of their own. */
#ifndef OXB_PE_BUILTIN_LINES_H
#define OXB_PE_BUILTIN_LINES_H

#include "core/strbuf.h"
#include "pe/pe.h"

#define LINES_READ_BYTES (256u << 10) /* one read: large enough that the call costs nothing */

struct lines { /* a zeroed struct is empty and valid */
    char *data;
    size_t begin;    /* first byte not taken */
    size_t searched; /* no newline in [begin, searched) */
    size_t end;      /* bytes filled */
    size_t capacity;
    bool has_other; /* a byte above 0x7f may be in [begin, end) */
    bool is_final;  /* no more bytes will come: the rest is a line too */
};

struct line {         /* borrowed, L1 */
    const char *text; /* without its newline and a carriage return before it */
    size_t bytes;
    size_t taken; /* with them */
};

void lines_fini(struct lines *b);
void lines_clear(struct lines *b); /* drops the content, keeps the memory */
/* lines_space - at least `bytes` writable bytes behind what is there; then call lines_filled. */
char *lines_space(struct lines *b, size_t bytes);
void lines_filled(struct lines *b, size_t bytes);
/* lines_next - take the next line.  Return: false when no complete one is there. */
bool lines_next(struct lines *b, struct line *line);
/* lines_untake - give the line taken last back: the next call finds it again. */
static inline void lines_untake(struct lines *b, const struct line *line)
{
    b->begin -= line->taken;
    b->searched = b->begin;
}
static inline size_t lines_left(const struct lines *b)
{
    return b->end - b->begin;
}

/* text_put - write text into a str field, repaired (L3) when needed.
 * @plain: it is known to be ASCII.  @scratch: the caller's, used for repairs. */
void text_put(struct oxb_writer *w, unsigned field, uint32_t row, const char *p, size_t bytes,
              bool plain, struct strbuf *scratch);
bool text_is_blank(const char *p, size_t bytes); /* only spaces and tabs, or nothing */

#endif
