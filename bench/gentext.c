/* bench/gentext.c - prints seeded text: words by Zipf's law in lines of 3 to 15.
 *
 * usage: gentext MB [SEED [WORDS]]     MB in units of 2^20 bytes; WORDS distinct words (50000)
 * The same arguments give the same bytes everywhere: integer arithmetic only. */
#include "core/prng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 1000000u
#define WORD_BYTES_MAX 16u
#define LINE_BYTES_MAX (15u * (WORD_BYTES_MAX + 2u) + 2u)

struct vocabulary {
    uint32_t count;
    char (*word)[WORD_BYTES_MAX]; /* [count], NUL-terminated */
    uint64_t *upto;               /* [count] running sum of the weights */
};

/* spell - word number n: syllables from its bits, so that frequent words are short. */
static void spell(uint32_t n, char *out)
{
    static const char heads[] = "bcdfghjklmnprstvw";
    static const char vowels[] = "aeiou";
    size_t len = 0;
    uint32_t rest = n + 1;
    while (rest > 0 && len < 12) {
        out[len++] = heads[rest % 17];
        rest /= 17;
        out[len++] = vowels[rest % 5];
        rest /= 5;
    }
    if (n % 50 == 7) {
        out[0] = (char)(out[0] - 32); /* so that lower-casing has work to do */
    }
    if (n % 97 == 5) {
        out[len++] = (char)('0' + n % 10);
    }
    out[len] = '\0';
}

static int vocabulary_init(struct vocabulary *v, uint32_t count)
{
    uint64_t sum = 0;
    v->count = count;
    v->word = calloc(count, sizeof *v->word);
    v->upto = calloc(count, sizeof *v->upto);
    if (v->word == NULL || v->upto == NULL) {
        return -1;
    }
    for (uint32_t n = 0; n < count; n++) {
        spell(n, v->word[n]);
        sum += ((uint64_t)1 << 32) / (n + 1); /* Zipf, exponent 1 */
        v->upto[n] = sum;
    }
    return 0;
}

static const char *vocabulary_draw(const struct vocabulary *v, struct prng *p)
{
    uint64_t at = prng_below(p, v->upto[v->count - 1]);
    uint32_t low = 0;
    uint32_t high = v->count - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (v->upto[middle] > at) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return v->word[low];
}

static size_t make_line(const struct vocabulary *v, struct prng *p, char *out)
{
    uint64_t words = 3 + prng_below(p, 13);
    size_t len = 0;
    for (uint64_t i = 0; i < words; i++) {
        const char *word = vocabulary_draw(v, p);
        size_t n = strlen(word);
        memcpy(out + len, word, n);
        len += n;
        if (i + 1 < words) {
            if (prng_below(p, 12) == 0) {
                out[len++] = ',';
            }
            out[len++] = ' ';
        }
    }
    out[len++] = '\n';
    return len;
}

int main(int argc, char **argv)
{
    double mb = argc > 1 ? strtod(argv[1], NULL) : 0;
    struct prng p = {argc > 2 ? strtoull(argv[2], NULL, 10) : 1};
    unsigned long words = argc > 3 ? strtoul(argv[3], NULL, 10) : 50000;
    struct vocabulary v = {0};
    char line[LINE_BYTES_MAX];
    if (mb <= 0 || mb > 1e6 || words == 0 || words > WORDS_MAX) {
        fputs("usage: gentext MB [SEED [WORDS]]\n", stderr);
        return 2;
    }
    if (vocabulary_init(&v, (uint32_t)words) != 0) {
        free(v.word);
        free(v.upto);
        fputs("error: out of memory\n", stderr);
        return 1;
    }
    size_t n = 1;
    for (uint64_t left = (uint64_t)(mb * 1048576.0); left > 0 && n > 0; left -= n) {
        n = make_line(&v, &p, line);
        n = fwrite(line, 1, n < left ? n : (size_t)left, stdout); /* 0: the reader has gone */
    }
    free(v.word);
    free(v.upto);
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
