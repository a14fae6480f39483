/* bench/floor_words.c - counting words by hand: one thread, one pass, one open-addressing table.
 *
 * The same words as the built-in `words`: runs of ASCII letters and digits, lower-cased. */
#include "bench/bench.h"
#include "core/clock.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TABLE_BITS_FIRST 16u
#define WORD_BYTES_MAX 256u
#define INLINE_BYTES 16u

struct entry {
    uint64_t head[2]; /* the word's first 16 bytes, rest 0 */
    uint64_t count;   /* 0: empty */
    uint32_t len;
    uint32_t rest;    /* offset in `heap` of what is beyond 16 bytes */
};

struct words {
    struct entry *table;
    unsigned bits;
    char *heap;
    size_t heap_used;
    size_t heap_max;
    uint64_t distinct;
    uint8_t lower[256]; /* 0: separates */
};

static uint64_t word_hash(const uint64_t head[2], uint32_t len)
{
    return (head[0] ^ (head[1] * 0x9e3779b97f4a7c15u) ^ len) * 0xff51afd7ed558ccdu;
}

static bool words_grow(struct words *w)
{
    struct entry *old = w->table;
    unsigned bits = old == NULL ? TABLE_BITS_FIRST : w->bits + 1;
    struct entry *table = calloc((size_t)1 << bits, sizeof *table);
    if (table == NULL) {
        return false;
    }
    for (size_t i = 0; old != NULL && i < (size_t)1 << w->bits; i++) {
        if (old[i].count != 0) {
            uint64_t at = word_hash(old[i].head, old[i].len) >> (64 - bits);
            while (table[at].count != 0) {
                at = (at + 1) & (((uint64_t)1 << bits) - 1);
            }
            table[at] = old[i];
        }
    }
    free(old);
    w->table = table;
    w->bits = bits;
    return true;
}

static bool words_new(struct words *w, struct entry *e, const char *word, uint32_t len)
{
    uint32_t more = len > INLINE_BYTES ? len - INLINE_BYTES : 0;
    if (w->heap_used + more > w->heap_max) {
        return false;
    }
    memcpy(w->heap + w->heap_used, word + (len - more), more);
    e->count = 1;
    e->len = len;
    e->rest = (uint32_t)w->heap_used;
    w->heap_used += more;
    w->distinct++;
    return w->distinct < ((uint64_t)1 << w->bits) / 2 || words_grow(w);
}

/* words_add - @word: zeros follow up to 16 bytes. */
static bool words_add(struct words *w, const char *word, uint32_t len)
{
    uint64_t head[2];
    memcpy(head, word, sizeof head);
    uint64_t at = word_hash(head, len) >> (64 - w->bits);
    for (;;) {
        struct entry *e = &w->table[at];
        if (e->count == 0) {
            memcpy(e->head, head, sizeof head);
            return words_new(w, e, word, len);
        }
        if (e->head[0] == head[0] && e->head[1] == head[1] && e->len == len &&
            (len <= INLINE_BYTES ||
             memcmp(w->heap + e->rest, word + INLINE_BYTES, len - INLINE_BYTES) == 0)) {
            e->count++;
            return true;
        }
        at = (at + 1) & (((uint64_t)1 << w->bits) - 1);
    }
}

static bool words_count(struct words *w, const uint8_t *text, size_t bytes)
{
    char word[WORD_BYTES_MAX] = {0};
    uint32_t len = 0;
    for (size_t i = 0; i < bytes; i++) {
        uint8_t c = w->lower[text[i]];
        if (c != 0) {
            if (len < WORD_BYTES_MAX) {
                word[len++] = (char)c;
            }
        } else if (len > 0) {
            if (!words_add(w, word, len)) {
                return false;
            }
            memset(word, 0, INLINE_BYTES);
            len = 0;
        }
    }
    return len == 0 || words_add(w, word, len);
}

static struct result words_result(const struct words *w, size_t bytes, uint64_t ns)
{
    struct result r = {.ok = true, .value = (double)bytes * 1e3 / (double)ns};
    for (size_t i = 0; i < (size_t)1 << w->bits; i++) {
        const struct entry *e = &w->table[i];
        if (e->count != 0) {
            r.count++;
            r.check += e->head[0] ^ e->count;
        }
    }
    return r;
}

struct result floor_words(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    struct words w = {.heap_max = 64u << 20};
    if (fd < 0 || fstat(fd, &st) != 0) {
        return result_fail("cannot open %s", path);
    }
    uint64_t start = clock_now_ns();
    uint8_t *text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    w.heap = malloc(w.heap_max);
    for (int c = 0; c < 256; c++) {
        bool upper = c >= 'A' && c <= 'Z';
        bool keep = upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        w.lower[c] = (uint8_t)(keep ? (upper ? c + 32 : c) : 0);
    }
    struct result r = result_fail("out of memory");
    if (text != MAP_FAILED && w.heap != NULL && words_grow(&w) &&
        words_count(&w, text, (size_t)st.st_size)) {
        r = words_result(&w, (size_t)st.st_size, clock_now_ns() - start);
    }
    if (text != MAP_FAILED) {
        munmap(text, (size_t)st.st_size);
    }
    free(w.table);
    free(w.heap);
    return r;
}
