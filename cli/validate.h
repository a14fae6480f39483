/* cli/validate.h - the problems of a topology file, as text or JSON. */
#ifndef OXB_CLI_VALIDATE_H
#define OXB_CLI_VALIDATE_H

#include "cli/cli.h"
#include "cli/load.h"

/* validate_report - print the problems (`file:line:column: message (hint)`, a line each), or `ok`.
 * Return: EXIT_DONE or EXIT_REFUSED. */
int validate_report(const struct loaded *l, FILE *out);
json_t *validate_json(const struct loaded *l); /* the same as a document; caller decrefs */
/* validate_load - load_read and load_check; problems go to cli->err.
 * Return: EXIT_DONE when *out holds a topology; else the exit code.  load_fini in every case. */
int validate_load(struct cli *cli, const char *file, struct loaded *out);
/* validate_refuse - print the problems and the closing error line on cli->err.
 * Return: EXIT_REFUSED. */
int validate_refuse(struct cli *cli, const struct loaded *l);

#endif
