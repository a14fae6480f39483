/* cli/outcome.h - waits for the receipt of a change, showing its phases as they pass. */
#ifndef OXB_CLI_OUTCOME_H
#define OXB_CLI_OUTCOME_H

#include "cli/cli.h"

#include <jansson.h>

#define CHANGE_TIMEOUT_US 60000000u /* for messages; without --timeout the topology says it */
#define EXIT_DETACHED 130           /* as of a program that Ctrl-C ends: nobody saw the end */

/* outcome_path - "PATH?timeout=S", or "PATH&timeout=S"; caller frees.  @timeout_us: 0: as it is. */
char *outcome_path(const char *path, uint64_t timeout_us);
/* outcome_post - POST; errors are printed.  The master may hold it while another change goes on.
 * Return: EXIT_DONE with *answer (caller decrefs), or the exit code. */
int outcome_post(struct cli *cli, const char *path, const char *body, uint64_t timeout_us,
                 json_t **answer);
/* outcome_wait - until the change that `answer` announced is over; phases go to cli->err.
 * @timeout_us: what was asked for, or 0.
 * Return: EXIT_DONE with *receipt (caller decrefs), or the exit code, printed: EXIT_TIMEOUT,
 * EXIT_DETACHED (Ctrl-C; the change goes on), ... */
int outcome_wait(struct cli *cli, const json_t *answer, uint64_t timeout_us, json_t **receipt);
/* outcome_finish - wait, print the receipt and say why it is not done.  Also for "no change". */
int outcome_finish(struct cli *cli, const json_t *answer, uint64_t timeout_us);
/* outcome_explain - EXIT_DONE, or the code of a receipt that is not done, with why.  What was
 * decided and is recovered is waited for. */
int outcome_explain(struct cli *cli, const json_t *receipt, uint64_t timeout_us);

#endif
