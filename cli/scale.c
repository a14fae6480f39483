/* cli/scale.c - `oxbow scale NAME PE=N...`: an upgrade of parallelism alone. */
#include "cli/outcome.h"
#include "cli/print.h"
#include "cli/submit.h"
#include "core/limits.h"
#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

struct scale_options {
    uint64_t timeout_us;
};

static const struct option scale_list[] = {
    {.name = "--timeout",
     .kind = OPTION_SECONDS,
     .offset = offsetof(struct scale_options, timeout_us),
     .value = "S",
     .doc = "not decided by then: given up (what the topology says; 60)"},
    {.name = NULL},
};

static int run_scale(struct cli *cli, const void *options, char **args, unsigned arg_count);

const struct verb verb_scale = {
    .name = "scale",
    .usage = "scale NAME PE=N... [--timeout S]",
    .brief = "change how many instances PEs have, while their data flows",
    .help = "Example: oxbow scale access parse=4 per-path=8\n\n"
            "An upgrade of `parallelism` alone: the running version's file with these numbers in\n"
            "it becomes the next version.  Ends with the receipt; exit codes as of `upgrade`.",
    .args_min = 2,
    .args_max = CLI_ARGS_MAX,
    .options = scale_list,
    .options_bytes = sizeof(struct scale_options),
    .run = run_scale,
};

/* "parse=4".  Return: false with the error printed. */
static bool read_pair(struct cli *cli, const char *arg, json_t *all)
{
    const char *equals = strchr(arg, '=');
    char *end = NULL;
    unsigned long n = equals != NULL ? strtoul(equals + 1, &end, 10) : 0;
    bool is_number = equals != NULL && equals[1] >= '0' && equals[1] <= '9' && *end == '\0';
    if (!is_number || n == 0 || n > PARALLELISM_MAX || equals == arg) {
        char *what = mem_printf("`%s` is not PE=N", arg);
        cli_error(cli, what, "N is a number from 1 to 1024", "as in `oxbow scale NAME parse=4`");
        mem_free(what);
        return false;
    }
    char *pe = mem_dup_n(arg, (size_t)(equals - arg));
    bool ok = json_object_get(all, pe) == NULL &&
              json_object_set_new(all, pe, json_integer((json_int_t)n)) == 0;
    if (!ok) {
        char *what = mem_printf("`%s` cannot be used", arg);
        cli_error(cli, what, "each PE is named once", NULL);
        mem_free(what);
    }
    mem_free(pe);
    return ok;
}

static int run_scale(struct cli *cli, const void *options, char **args, unsigned arg_count)
{
    const struct scale_options *o = options;
    json_t *all = json_object(), *answer = NULL;
    int code = submit_check_name(cli, args[0]);
    for (unsigned i = 1; i < arg_count && code == EXIT_DONE; i++) {
        code = read_pair(cli, args[i], all) ? EXIT_DONE : EXIT_USAGE;
    }
    if (code == EXIT_DONE) {
        json_t *document = json_pack("{s:O}", "parallelism", all);
        char *body = json_dumps(document, JSON_COMPACT);
        char *path = mem_printf("/v1/topologies/%s/scale", args[0]);
        code = outcome_post(cli, path, body, o->timeout_us, &answer);
        mem_free(path);
        mem_free(body);
        json_decref(document);
    }
    if (code == EXIT_DONE) {
        code = outcome_finish(cli, answer, o->timeout_us);
    }
    json_decref(answer);
    json_decref(all);
    return code;
}
