/* pe/builtin/lines.c - bytes as they come from a file or socket, cut into lines of text.
 *
 * See:        pe/builtin/lines.h, tests/unit/builtin/lines_test.c */
#include "pe/builtin/lines.h"

#include "core/mem.h"
#include "core/text.h"

#define KEPT_CHECK_BYTES 4096u /* a rest up to this long is checked again for being ASCII */

static bool is_ascii(const char *p, size_t bytes)
{
    uint64_t all = 0;
    size_t i = 0;
    for (; i + 32 <= bytes; i += 32) {
        uint64_t w[4];
        memcpy(w, p + i, sizeof w);
        all |= w[0] | w[1] | w[2] | w[3];
    }
    uint8_t rest = 0;
    for (; i < bytes; i++) {
        rest |= (uint8_t)p[i];
    }
    return ((all | rest) & 0x8080808080808080u) == 0;
}

void lines_fini(struct lines *b)
{
    mem_free(b->data);
    memset(b, 0, sizeof *b);
}

void lines_clear(struct lines *b)
{
    b->begin = b->searched = b->end = 0;
    b->has_other = false;
    b->is_final = false;
}

char *lines_space(struct lines *b, size_t bytes)
{
    size_t kept = lines_left(b);
    if (b->begin > 0) {
        memmove(b->data, b->data + b->begin, kept);
        b->searched -= b->begin;
        b->begin = 0;
        b->end = kept;
        if (kept <= KEPT_CHECK_BYTES) {
            b->has_other = !is_ascii(b->data, kept);
        }
    }
    if (b->capacity - kept < bytes) {
        size_t capacity = b->capacity * 2 > kept + bytes ? b->capacity * 2 : kept + bytes;
        b->data = mem_resize(b->data, capacity, 1);
        b->capacity = capacity;
    }
    return b->data + b->end;
}

void lines_filled(struct lines *b, size_t bytes)
{
    b->has_other = b->has_other || !is_ascii(b->data + b->end, bytes);
    b->end += bytes;
}

bool lines_next(struct lines *b, struct line *line)
{
    if (b->begin == b->end) {
        return false;
    }
    const char *from = b->data + b->begin;
    const char *newline = memchr(b->data + b->searched, '\n', b->end - b->searched);
    if (newline == NULL && !b->is_final) {
        b->searched = b->end;
        return false;
    }
    const char *stop = newline != NULL ? newline : b->data + b->end;
    line->taken = (size_t)(stop - from) + (newline != NULL ? 1 : 0);
    line->text = from;
    line->bytes = (size_t)(stop - from);
    if (newline != NULL && line->bytes > 0 && stop[-1] == '\r') {
        line->bytes--;
    }
    b->begin += line->taken;
    b->searched = b->begin;
    return true;
}

/* sequence_bytes - length of the well-formed UTF-8 sequence at p, or 0; in that case *bad is the
 * length of the malformed part, which one U+FFFD stands for. */
static size_t sequence_bytes(const uint8_t *p, size_t bytes, size_t *bad)
{
    uint8_t c = p[0];
    uint8_t low = 0x80;
    uint8_t high = 0xbf;
    size_t more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    *bad = 1;
    if ((c >= 0x80 && c < 0xc2) || c > 0xf4) {
        return 0;
    }
    low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : low;   /* overlong */
    high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : high; /* surrogates, above U+10FFFF */
    for (size_t i = 1; i <= more; i++) {
        if (i >= bytes || p[i] < low || p[i] > high) {
            *bad = i;
            return 0;
        }
        low = 0x80;
        high = 0xbf;
    }
    return more + 1;
}

static void repair(const char *text, size_t bytes, struct strbuf *out)
{
    const uint8_t *p = (const uint8_t *)text;
    strbuf_clear(out);
    for (size_t i = 0; i < bytes;) {
        size_t bad;
        size_t good = sequence_bytes(p + i, bytes - i, &bad);
        if (good > 0) {
            strbuf_add(out, p + i, good);
            i += good;
        } else {
            strbuf_add(out, "\xef\xbf\xbd", 3);
            i += bad;
        }
    }
}

void text_put(struct oxb_writer *w, unsigned field, uint32_t row, const char *p, size_t bytes,
              bool plain, struct strbuf *scratch)
{
    if (!plain && !text_is_utf8(p, bytes)) {
        repair(p, bytes, scratch);
        p = scratch->data;
        bytes = scratch->bytes;
    }
    oxb_put_str(w, field, row, p, (uint32_t)bytes);
}

bool text_is_blank(const char *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (p[i] != ' ' && p[i] != '\t') {
            return false;
        }
    }
    return true;
}
