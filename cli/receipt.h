/* cli/receipt.h - receipts of upgrades: found and shown. */
#ifndef OXB_CLI_RECEIPT_H
#define OXB_CLI_RECEIPT_H

#include "cli/cli.h"

#include <jansson.h>

/* receipt_find - of the change to `version`, or, when it has none, of its newest recovery; 0: the
 * newest of all.
 * Return: EXIT_DONE with *out (caller decrefs), NULL when there is none; or the exit code. */
int receipt_find(struct cli *cli, const char *name, uint64_t version, json_t **out);
void receipt_print(struct cli *cli, const json_t *receipt);

#endif
