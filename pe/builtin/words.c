/* pe/builtin/words.c - splits text into words: runs of ASCII letters and digits, lower-cased.
 *
 * Invariants: W1 every byte that is no ASCII letter or digit separates, also bytes of UTF-8
 *             sequences: what is emitted is always ASCII.
 *             W2 a word is never cut, however long it is.
 * Why:        a piece of text is copied into the open batch's heap as a whole, lower-cased there 64
 *             bytes at a time, and the words are references into it: the boundaries come from a
 *             64-bit mask of word bytes, so that no byte is looked at by a branch. */
#include "pe/builtin/builtin.h"

#define BLOCK_BYTES 64u
#define PIECE_BYTES_MAX (16u << 10) /* of one line at a time, unless a word is longer */

struct words {
    unsigned field;
};

static int bind(struct oxb_pe *pe, unsigned port, const struct oxb_schema *schema)
{
    struct words *s = oxb_self(pe);
    const char *name = oxb_param_str(pe, "field");
    (void)port;
    int field = oxb_field(schema, name);
    if (field < 0) {
        return oxb_fail(pe, "the input has no field `%s`; it has: %s", name, schema->text);
    }
    enum oxb_type type = schema->fields[field].type;
    if (type != OXB_STR && type != OXB_BYTES) {
        return oxb_fail(pe, "field `%s` is no text (str or bytes); the input has: %s", name,
                        schema->text);
    }
    s->field = (unsigned)field;
    return OXB_OK;
}

static bool is_word(uint8_t c)
{
    return (uint8_t)((c | 0x20) - 'a') < 26 || (uint8_t)(c - '0') < 10;
}

/* lower_block - lower-cases 64 bytes in place.  Return: bit i is set if byte i is of a word. */
static uint64_t lower_block(uint8_t *text)
{
    uint8_t mark[BLOCK_BYTES]; /* 0x80 where the byte is of a word */
    for (unsigned i = 0; i < BLOCK_BYTES; i++) {
        uint8_t c = text[i];
        uint8_t low = (uint8_t)(c | 0x20);
        uint8_t letter = (uint8_t)(low - 'a') < 26 ? 0xff : 0;
        uint8_t digit = (uint8_t)(c - '0') < 10 ? 0xff : 0;
        text[i] = (uint8_t)(c | (letter & 0x20));
        mark[i] = (uint8_t)((letter | digit) & 0x80);
    }
    uint64_t mask = 0;
    for (unsigned i = 0; i < BLOCK_BYTES; i += 8) {
        uint64_t eight; /* its top bits gather in the top byte, byte 0 as the lowest bit */
        memcpy(&eight, mark + i, sizeof eight);
        mask |= ((eight >> 7) * 0x0102040810204080u >> 56) << i;
    }
    return mask;
}

struct scan { /* one piece of text in the heap */
    struct oxb_ref *refs;
    uint32_t row;
    uint32_t row_max;
    uint32_t heap_off; /* of the piece */
};

/* scan_piece - refs for the words of text[0..bytes), which is followed by 64 writable bytes.
 * Return: bytes done: `bytes`, or the start of the first word for which there was no row. */
static uint32_t scan_piece(struct scan *s, uint8_t *text, uint32_t bytes)
{
    uint32_t row = s->row;
    uint32_t start = 0;                   /* of the open word */
    uint64_t inside = 0;                  /* 1: the byte before was of a word */
    memset(text + bytes, 0, BLOCK_BYTES); /* so every word ends inside the loop */
    for (uint32_t at = 0; at <= bytes; at += BLOCK_BYTES) {
        uint64_t mask = lower_block(text + at);
        uint64_t edges = mask ^ (mask << 1 | inside);
        while (edges != 0) {
            uint32_t pos = at + (uint32_t)__builtin_ctzll(edges);
            edges &= edges - 1;
            inside ^= 1;
            if (inside != 0) {
                start = pos;
                continue;
            }
            if (row == s->row_max) {
                return start;
            }
            s->refs[row].off = s->heap_off + start;
            s->refs[row].len = pos - start;
            row++;
            s->row = row;
        }
    }
    return bytes;
}

/* piece_bytes - how much of text[0..bytes) to take at once without cutting a word. */
static uint32_t piece_bytes(const char *text, uint32_t bytes)
{
    if (bytes <= PIECE_BYTES_MAX) {
        return bytes;
    }
    uint32_t n = PIECE_BYTES_MAX;
    while (n > PIECE_BYTES_MAX / 2 && is_word((uint8_t)text[n - 1])) {
        n--;
    }
    while (n < bytes && is_word((uint8_t)text[n - 1])) { /* one word longer than half a piece */
        n++;
    }
    return n;
}

static void split(struct oxb_writer *w, const char *text, uint32_t bytes)
{
    while (bytes > 0) {
        uint32_t row = oxb_row(w);
        uint32_t left = w->heap_left;
        uint32_t piece = piece_bytes(text, bytes);
        uint8_t *to = oxb_put_space(w, 0, row, piece + BLOCK_BYTES);
        struct oxb_wcol *col = &w->cols[0];
        struct scan s = {.refs = col->data,
                         .row = row,
                         .row_max = w->rows_max,
                         .heap_off = (uint32_t)(to - col->heap)};
        memcpy(to, text, piece);
        uint32_t done = scan_piece(&s, to, piece);
        uint32_t used = s.row > row ? done : 0; /* a piece without words leaves nothing behind */
        col->heap_used = s.heap_off + used;
        w->heap_left = used < left ? left - used : 0;
        w->rows = s.row;
        text += done;
        bytes -= done;
    }
}

static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    const struct words *s = oxb_self(pe);
    struct oxb_writer *w = oxb_writer(pe, 0);
    (void)port;
    OXB_EACH (in, i) {
        struct oxb_str text = oxb_str_at(in, s->field, i);
        split(w, text.p, text.len);
    }
    return OXB_OK;
}

static const struct oxb_param params[] = {
    {.name = "field", .type = OXB_P_FIELD, .fallback = "line", .doc = "the text to split"},
    {.name = NULL},
};

static const struct oxb_port outputs[] = {
    {"out", "word: str", "one tuple per word, in the order of the text"},
    {NULL, NULL, NULL},
};

const struct oxb_pe_type builtin_words = {
    .abi = OXB_ABI,
    .flags = OXB_MANY,
    .name = "words",
    .doc = "splits text into lower-cased words of ASCII letters and digits",
    .params = params,
    .outputs = outputs,
    .state_version = 1,
    .self_bytes = sizeof(struct words),
    .bind = bind,
    .process = process,
};
