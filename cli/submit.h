/* cli/submit.h - hands a topology file to the master and waits for what becomes of it. */
#ifndef OXB_CLI_SUBMIT_H
#define OXB_CLI_SUBMIT_H

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/load.h"

/* submit_file - upload the plug-ins, then POST the YAML to `path`; errors are printed.
 * @more_us: the master may hold the answer for so long.
 * Return: EXIT_DONE with a 2xx reply (client_reply_fini), or the exit code. */
int submit_file(struct cli *cli, const struct loaded *l, const char *path, uint64_t more_us,
                struct client_reply *reply);
void submit_sleep_ms(uint64_t ms);

/* submit_topology - upload the plug-ins, then POST the YAML; errors are printed.
 * @l: after load_read; its files must all be there.
 * Return: EXIT_DONE with the topology's name (caller frees) and version, or the exit code. */
int submit_topology(struct cli *cli, const struct loaded *l, char **name, uint64_t *version);

/* submit_wait - poll a topology until its state is one of the words of `states`.
 * @timeout_us: 0 waits for ever.
 * Return: EXIT_DONE with *out (caller decrefs), or the exit code with the error printed. */
int submit_wait(struct cli *cli, const char *name, const char *states, uint64_t timeout_us,
                json_t **out);

bool state_is_one_of(const char *state, const char *states);
/* submit_print_failure - the error of a failed topology.  Return: EXIT_FAILED. */
int submit_print_failure(struct cli *cli, const json_t *topology);
/* submit_check_name - EXIT_DONE, or EXIT_USAGE with the error printed. */
int submit_check_name(struct cli *cli, const char *name);

#endif
