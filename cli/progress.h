/* cli/progress.h - how a run is going: a live block on a terminal, a line at times elsewhere. */
#ifndef OXB_CLI_PROGRESS_H
#define OXB_CLI_PROGRESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
    FILE *out; /* stderr */
    bool live; /* a terminal: repaint in place */
    bool color;
    uint64_t started_us; /* monotonic */
    uint64_t shown_us;   /* when last; 0: never */
    unsigned lines;      /* painted, to be painted over */
};

void progress_init(struct progress *p, FILE *out, bool live, bool color);
void progress_show(struct progress *p, const json_t *topology); /* as often as it likes to */
void progress_clear(struct progress *p); /* before anything else is written to the terminal */
/* progress_line - `access: running 12 s, 1,000,000 in (83.3k/s), 20 out`; caller frees. */
char *progress_line(const json_t *topology, uint64_t elapsed_us);

#endif
