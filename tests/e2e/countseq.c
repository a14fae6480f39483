/* tests/e2e/countseq.c - checks the output of counts per key: `countseq FILE KEYS NUMBERS`.
 *
 * The file holds `key<TAB>count<TAB>...` lines in the order written.  For every key the counts must
 * be 1, 2, 3 ... in order: a hole is a loss, a repeat a duplicate, anything else a reordering.  In
 * all there must be NUMBERS lines, spread over KEYS keys as numbers modulo KEYS are; NUMBERS 0: as
 * many as there are, of which every key has as many as its neighbours, or one less. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    FILE *f = argc == 4 ? fopen(argv[1], "r") : NULL;
    uint64_t keys = argc == 4 ? strtoull(argv[2], NULL, 10) : 0;
    uint64_t wanted = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;
    if (f == NULL || keys == 0) {
        fprintf(stderr, "usage: countseq FILE KEYS NUMBERS\n");
        return 2;
    }
    uint64_t *last = calloc(keys, sizeof *last);
    uint64_t lines = 0, key = 0, count = 0;
    char text[256];
    while (fgets(text, sizeof text, f) != NULL) {
        lines++;
        if (sscanf(text, "%" SCNu64 "\t%" SCNu64, &key, &count) != 2 || key >= keys) {
            printf("line %" PRIu64 " is malformed: %s", lines, text);
            return 1;
        }
        if (count != last[key] + 1) {
            printf("line %" PRIu64 ", key %" PRIu64 ": %" PRIu64 " follows %" PRIu64 ": %s\n",
                   lines, key, count, last[key],
                   count > last[key] ? "lost or reordered" : "doubled or reordered");
            return 1;
        }
        last[key] = count;
    }
    fclose(f);
    uint64_t numbers = wanted != 0 ? wanted : lines;
    for (key = 0; key < keys; key++) {
        uint64_t due = numbers / keys + (key < numbers % keys ? 1 : 0);
        if (last[key] != due) {
            printf("key %" PRIu64 " ends at %" PRIu64 ", not %" PRIu64 "\n", key, last[key], due);
            return 1;
        }
    }
    free(last);
    printf("%" PRIu64 " lines, %" PRIu64 " keys: every count once and in order\n", lines, keys);
    return 0;
}
