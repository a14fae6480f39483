/* bench/floor_words.c - counting words by hand: one thread, one pass, one open-addressing table.
 *
 * The same words as the built-in `words`: runs of ASCII letters and digits, lower-cased. */
#include "bench/bench.h"
#include "core/clock.h"
#include "core/hash.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TABLE_BITS 20u
#define WORD_BYTES_MAX 256u

struct entry {
    const char *text; /* in `heap`; NULL: empty */
    uint32_t len;
    uint64_t hash;
    uint64_t count;
};

struct words {
    struct entry *table;
    char *heap;
    size_t heap_used;
    size_t heap_max;
    uint64_t distinct;
    uint8_t lower[256]; /* 0: separates */
};

static bool words_add(struct words *w, const char *word, uint32_t len)
{
    uint64_t hash = hash_bytes(word, len);
    uint64_t at = hash >> (64 - TABLE_BITS);
    for (;;) {
        struct entry *e = &w->table[at];
        if (e->text == NULL) {
            if (w->heap_used + len > w->heap_max || w->distinct >= (1u << TABLE_BITS) * 3 / 4) {
                return false;
            }
            memcpy(w->heap + w->heap_used, word, len);
            *e = (struct entry){w->heap + w->heap_used, len, hash, 1};
            w->heap_used += len;
            w->distinct++;
            return true;
        }
        if (e->hash == hash && e->len == len && memcmp(e->text, word, len) == 0) {
            e->count++;
            return true;
        }
        at = (at + 1) & ((1u << TABLE_BITS) - 1);
    }
}

static bool words_count(struct words *w, const uint8_t *text, size_t bytes)
{
    char word[WORD_BYTES_MAX];
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
            len = 0;
        }
    }
    return len == 0 || words_add(w, word, len);
}

static uint64_t first_bytes(const struct entry *e)
{
    uint64_t word = 0;
    memcpy(&word, e->text, e->len < sizeof word ? e->len : sizeof word);
    return word;
}

static struct result words_result(const struct words *w, size_t bytes, uint64_t ns)
{
    struct result r = {.ok = true, .value = (double)bytes * 1e3 / (double)ns};
    for (size_t i = 0; i < (1u << TABLE_BITS); i++) {
        const struct entry *e = &w->table[i];
        if (e->text != NULL) {
            r.count++;
            r.check += first_bytes(e) ^ e->count;
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
    w.table = calloc(1u << TABLE_BITS, sizeof *w.table);
    w.heap = malloc(w.heap_max);
    for (int c = 0; c < 256; c++) {
        bool upper = c >= 'A' && c <= 'Z';
        bool keep = upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        w.lower[c] = (uint8_t)(keep ? (upper ? c + 32 : c) : 0);
    }
    struct result r = result_fail("out of memory or more than 786,432 distinct words");
    if (text != MAP_FAILED && w.table != NULL && w.heap != NULL &&
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
