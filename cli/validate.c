/* cli/validate.c - `oxbow validate FILE`: every problem of a topology file, without a cluster.
 *
 * Runs on:    the caller; reads files, describes plug-ins in children; no network.
 * Why:        problems are the product of this verb, so they go to stdout; the verbs that merely
 *             load a file print the same lines to stderr.
 * See:        tests/unit/cli/validate_test.c */
#include "cli/validate.h"

#include "cli/print.h"
#include "core/mem.h"

#include <string.h>

static int run_validate(struct cli *cli, const void *options, char **args, unsigned arg_count);

const struct verb verb_validate = {
    .name = "validate",
    .usage = "validate FILE",
    .brief = "check a topology file; touches no cluster",
    .help = "Example: oxbow validate access.yaml\n\n"
            "Reads a topology file and the plug-ins it names, and prints every problem as\n"
            "`file:line:column: message (hint)`, sorted by line.  Touches no cluster.\n"
            "Built-in PEs are asked whether they take their parameters with what comes in.\n"
            "Exit code 3 when there is an error, 0 when there are warnings at most.",
    .args_min = 1,
    .args_max = 1,
    .run = run_validate,
};

static int run_validate(struct cli *cli, const void *options, char **args, unsigned arg_count)
{
    (void)options;
    (void)arg_count;
    struct loaded l;
    struct fail f = {0};
    if (load_read(args[0], &l, &f) != ERR_OK) {
        load_fini(&l);
        return cli_fail(cli, &f);
    }
    load_check(&l, cli->program);
    int code = EXIT_DONE;
    if (cli->json) {
        json_t *document = validate_json(&l);
        cli_print_json(cli->out, document);
        json_decref(document);
        code = l.topology != NULL ? EXIT_DONE : EXIT_REFUSED;
    } else {
        code = validate_report(&l, cli->out);
    }
    load_fini(&l);
    return code;
}

static void print_totals(const struct loaded *l, FILE *out)
{
    size_t warnings = l->diags.count - l->diags.errors;
    if (l->diags.errors > 0) {
        fprintf(out, "%zu error%s, %zu warning%s", l->diags.errors, l->diags.errors == 1 ? "" : "s",
                warnings, warnings == 1 ? "" : "s");
        if (l->diags.dropped > 0) {
            fprintf(out, "; %zu more not shown", l->diags.dropped);
        }
        fputc('\n', out);
    }
}

int validate_report(const struct loaded *l, FILE *out)
{
    if (l->diags.count > 0) {
        char *text = diags_text(&l->diags, l->file);
        fputs(text, out);
        size_t bytes = strlen(text);
        if (bytes > 0 && text[bytes - 1] != '\n') {
            fputc('\n', out);
        }
        mem_free(text);
    }
    print_totals(l, out);
    if (l->topology == NULL) {
        return EXIT_REFUSED;
    }
    const struct topology *t = l->topology;
    fprintf(out, "ok: %s, %u PE%s, %u stream%s\n", t->name, t->pe_count,
            t->pe_count == 1 ? "" : "s", t->stream_count, t->stream_count == 1 ? "" : "s");
    return EXIT_DONE;
}

json_t *validate_json(const struct loaded *l)
{
    const struct diags *d = &l->diags;
    json_t *problems = json_array();
    for (size_t i = 0; i < d->count; i++) {
        json_t *hint = d->items[i].hint != NULL ? json_string(d->items[i].hint) : json_null();
        json_array_append_new(
            problems, json_pack("{s:s, s:i, s:i, s:s, s:o}", "level",
                                d->items[i].level == DIAG_ERROR ? "error" : "warning", "line",
                                (int)d->items[i].at.line, "column", (int)d->items[i].at.column,
                                "message", d->items[i].message, "hint", hint));
    }
    json_t *document = json_pack("{s:s, s:b, s:I, s:I, s:o}", "file", l->file, "ok",
                                 l->topology != NULL, "errors", (json_int_t)d->errors, "warnings",
                                 (json_int_t)(d->count - d->errors), "problems", problems);
    if (l->topology != NULL) {
        json_object_set_new(document, "topology", json_string(l->topology->name));
        json_object_set_new(document, "digest", json_string(l->topology->digest));
        json_object_set_new(document, "pes", json_integer((json_int_t)l->topology->pe_count));
        json_object_set_new(document, "streams",
                            json_integer((json_int_t)l->topology->stream_count));
    }
    return document;
}

int validate_refuse(struct cli *cli, const struct loaded *l)
{
    char *text = diags_text(&l->diags, l->file);
    fputs(text, cli->err);
    mem_free(text);
    char *what =
        mem_printf("%s has %zu error%s", l->file, l->diags.errors, l->diags.errors == 1 ? "" : "s");
    cli_error(cli, what, "nothing was changed", "correct the lines above");
    mem_free(what);
    return EXIT_REFUSED;
}

int validate_load(struct cli *cli, const char *file, struct loaded *out)
{
    struct fail f = {0};
    if (load_read(file, out, &f) != ERR_OK) {
        return cli_fail(cli, &f);
    }
    load_check(out, cli->program);
    if (out->topology == NULL) {
        return validate_refuse(cli, out);
    }
    if (out->diags.count > 0) { /* warnings */
        char *text = diags_text(&out->diags, out->file);
        fputs(text, cli->err);
        mem_free(text);
    }
    return EXIT_DONE;
}
