/* cli/new.c - `oxbow new pe NAME`, `oxbow new topology NAME`: a small complete start to edit.
 *
 * Invariants: N1 nothing that exists is overwritten.
 * Why:        what is written builds, runs and passes its test as it is, so that the first change
 *             is the user's own.  The texts are in cli/templates.c. */
#include "cli/print.h"
#include "cli/templates.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "core/text.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int run_new(struct cli *cli, const void *options, char **args, unsigned arg_count);

const struct verb verb_new = {
    .name = "new",
    .usage = "new pe NAME | new topology NAME",
    .brief = "write a small complete PE or topology to start from",
    .help = "Example: oxbow new pe scale && make -C scale test run\n\n"
            "`new pe NAME` writes a folder NAME with a PE in C, its test, a topology that uses it\n"
            "and a Makefile.  `new topology NAME` writes NAME.yaml.  Both work as they are.\n"
            "Nothing that exists is overwritten.",
    .args_min = 2,
    .args_max = 2,
    .run = run_new,
};

static int write_template(struct cli *cli, const char *path, const char *template, const char *name)
{
    struct fail f = {0};
    char *sdk = file_dir_of(cli->program); /* of a build that is not installed */
    char *text = template_fill(template, name, sdk);
    int code = EXIT_DONE;
    if (access(path, F_OK) == 0) {
        char *what = mem_printf("%s exists", path);
        cli_error(cli, what, "nothing is overwritten", "choose another name, or remove it");
        mem_free(what);
        code = EXIT_REFUSED;
    } else if (file_write_safe(path, text, strlen(text), &f) != ERR_OK) {
        code = cli_fail(cli, &f);
    } else {
        (void)chmod(path, 0644);
    }
    mem_free(text);
    mem_free(sdk);
    return code;
}

static void print_written(struct cli *cli, const char *path, const char *next)
{
    if (cli->json) {
        json_t *document = json_pack("{s:s, s:s}", "written", path, "next", next);
        cli_print_json(cli->out, document);
        json_decref(document);
    } else {
        fprintf(cli->out, "wrote %s\n", path);
        fprintf(cli->err, "next: %s\n", next);
    }
}

static int new_pe(struct cli *cli, const char *name)
{
    static const struct {
        const char *path; /* %s: the name */
        const char *template;
    } files[] = {
        {"%s/%s.c", template_pe_c},
        {"%s/%s_test.c", template_pe_test},
        {"%s/topology.yaml", template_pe_yaml},
        {"%s/Makefile", template_pe_make},
    };
    int code = EXIT_DONE;
    if (mkdir(name, 0755) != 0) {
        char *what = mem_printf("cannot create the folder %s: %s", name, strerror(errno));
        cli_error(cli, what, NULL, "choose another name, or remove it");
        mem_free(what);
        return EXIT_REFUSED;
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0] && code == EXIT_DONE; i++) {
        struct strbuf path = {0};
        for (const char *p = files[i].path; *p != '\0'; p++) {
            if (*p == '%') {
                strbuf_text_add(&path, name);
                p++;
            } else {
                strbuf_char(&path, *p);
            }
        }
        code = write_template(cli, strbuf_text(&path), files[i].template, name);
        strbuf_fini(&path);
    }
    if (code == EXIT_DONE) {
        char *next = mem_printf("make -C %s test run", name);
        print_written(cli, name, next);
        mem_free(next);
    }
    return code;
}

static int new_topology(struct cli *cli, const char *name)
{
    char *path = mem_printf("%s.yaml", name);
    int code = write_template(cli, path, template_topology_yaml, name);
    if (code == EXIT_DONE) {
        char *next = mem_printf("oxbow run %s", path);
        print_written(cli, path, next);
        mem_free(next);
    }
    mem_free(path);
    return code;
}

static int run_new(struct cli *cli, const void *options, char **args, unsigned arg_count)
{
    (void)options;
    (void)arg_count;
    bool pe = strcmp(args[0], "pe") == 0;
    if (!pe && strcmp(args[0], "topology") != 0) {
        char *what = mem_printf("`oxbow new` makes no `%s`", args[0]);
        cli_error(cli, what, NULL, "use `oxbow new pe NAME` or `oxbow new topology NAME`");
        mem_free(what);
        return EXIT_USAGE;
    }
    if (!text_is_name(args[1])) {
        char *what = mem_printf("`%s` is no name", args[1]);
        cli_error(cli, what, "names are lower-case letters, digits and dashes, a letter first",
                  "choose such a name");
        mem_free(what);
        return EXIT_USAGE;
    }
    return pe ? new_pe(cli, args[1]) : new_topology(cli, args[1]);
}
