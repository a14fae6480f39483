/* cli/print.h - how results and errors look: error lines, tables, numbers for people. */
#ifndef OXB_CLI_PRINT_H
#define OXB_CLI_PRINT_H

#include "cli/cli.h"
#include "cli/client.h"

#include <jansson.h>

/* ---- errors: `error: what; why; what to do` on cli->err; NULL or "" parts are left out ---- */
void cli_error(struct cli *cli, const char *what, const char *why, const char *hint);
/* cli_fail - print `f`.  Return: the exit code that its error code stands for. */
int cli_fail(struct cli *cli, const struct fail *f);
/* cli_refused - print an error answer of the master, with its diagnostics as
 * `file:line:column: message (hint)`.  @file: NULL when the request named none.
 * Return: the exit code that its HTTP status stands for. */
int cli_refused(struct cli *cli, const struct client_reply *r, const char *file);
/* cli_get - GET a path; anything but a 2xx with JSON is printed as an error.
 * Return: EXIT_DONE with *out to be decref'd by the caller, or the exit code. */
int cli_get(struct cli *cli, const char *path, json_t **out);
void cli_print_json(FILE *out, const json_t *document); /* indented, one newline at the end */

/* ---- numbers ---- */
#define NUMBER_TEXT_BYTES 32
void number_count(uint64_t n, char out[NUMBER_TEXT_BYTES]);       /* 1,234,567 */
void number_rate(double per_second, char out[NUMBER_TEXT_BYTES]); /* 0  12.5  980  52.0k  1.2M */
void number_share(double share, char out[NUMBER_TEXT_BYTES]);     /* 0..1 -> 31% */
void number_us(double us, char out[NUMBER_TEXT_BYTES]);           /* 12 us  2.0 ms  1.5 s */

/* ---- tables ---- */
enum table_style { TABLE_PLAIN, TABLE_GOOD, TABLE_WARN, TABLE_BAD, TABLE_DIM };

struct table_cell {
    char *text;
    enum table_style style;
};

struct table {
    unsigned columns;
    const char *const *heads; /* [columns]; a head that starts with '>' aligns right */
    struct table_cell *cells; /* [rows][columns] */
    size_t used, capacity;    /* cells */
};

void table_init(struct table *t, const char *const *heads, unsigned columns);
void table_fini(struct table *t);
void table_cell(struct table *t, const char *text); /* the next one, row by row */
void table_styled(struct table *t, const char *text, enum table_style style);
void table_print(const struct table *t, FILE *out, bool color);
void table_markdown(const struct table *t, FILE *out);
enum table_style state_style(const char *state); /* of topology and worker states */

/* JSON helpers that never fail: "" or 0 when the member is absent or of another type. */
const char *json_text_of(const json_t *object, const char *key);
double json_real_of(const json_t *object, const char *key);
uint64_t json_count_of(const json_t *object, const char *key);

#endif
