/* tests/e2e/countwords.c - counts the words of stdin: `word TAB count` per line, in no order.
 *
 * An oracle that shares no code with the engine: a chained table with a plain multiplicative hash,
 * byte by byte.  A word is a run of ASCII letters and digits, lower-cased. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS (1u << 18)
#define WORD_BYTES_MAX 65536u

struct node {
    struct node *next;
    uint64_t count;
    size_t bytes;
    char text[];
};

static int word_byte(int c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A' + 'a';
    }
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : 0;
}

static int add(struct node **table, const char *word, size_t bytes)
{
    uint32_t h = 5381;
    for (size_t i = 0; i < bytes; i++) {
        h = h * 33u + (uint32_t)(unsigned char)word[i];
    }
    struct node **at = &table[h % BUCKETS];
    for (struct node *n = *at; n != NULL; n = n->next) {
        if (n->bytes == bytes && memcmp(n->text, word, bytes) == 0) {
            n->count++;
            return 0;
        }
    }
    struct node *n = malloc(sizeof *n + bytes);
    if (n == NULL) {
        return -1;
    }
    n->next = *at;
    n->count = 1;
    n->bytes = bytes;
    memcpy(n->text, word, bytes);
    *at = n;
    return 0;
}

static int count(struct node **table, char *word)
{
    size_t bytes = 0;
    int c;
    do {
        c = getc_unlocked(stdin);
        int w = c == EOF ? 0 : word_byte(c);
        if (w != 0 && bytes < WORD_BYTES_MAX) {
            word[bytes++] = (char)w;
        } else if (w == 0 && bytes > 0) {
            if (add(table, word, bytes) != 0) {
                return -1;
            }
            bytes = 0;
        }
    } while (c != EOF);
    return 0;
}

int main(void)
{
    struct node **table = calloc(BUCKETS, sizeof *table);
    char *word = malloc(WORD_BYTES_MAX);
    if (table == NULL || word == NULL || count(table, word) != 0) {
        fputs("countwords: out of memory\n", stderr);
        return 1;
    }
    for (uint32_t b = 0; b < BUCKETS; b++) {
        for (struct node *n = table[b], *next; n != NULL; n = next) {
            next = n->next;
            printf("%.*s\t%llu\n", (int)n->bytes, n->text, (unsigned long long)n->count);
            free(n);
        }
    }
    free(table);
    free(word);
    return fflush(stdout) == 0 ? 0 : 1;
}
