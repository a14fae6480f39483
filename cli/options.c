/* cli/options.c - the command line: global options anywhere, a verb, its options and arguments.
 *
 * Owns:       the parsing; one pass over argv.
 * Invariants: O1 an option is consumed with its value or refused: nothing is ignored.
 *             O2 global options mean the same before and after the verb.
 * Why:        getopt reorders or stops at the verb, and its tables cannot carry checks and docs.
 * See:        tests/unit/cli/options_test.c */
#include "cli/options.h"

#include "cli/print.h"
#include "core/mem.h"
#include "core/text.h"

#include <string.h>

#define VERBS_MAX 64

struct globals { /* only the table below needs them as one struct */
    const char *master;
    const char *output;
    bool no_color;
    bool help;
    bool version;
};

static const struct option global_options[] = {
    {.name = "--master",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct globals, master),
     .value = "URL",
     .doc = "the master's HTTP address ($OXBOW_MASTER; " CLI_MASTER_DEFAULT ")"},
    {.name = "-o",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct globals, output),
     .value = "text|json",
     .choices = "text json",
     .doc = "json: one JSON document on stdout and nothing else"},
    {.name = "--output",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct globals, output),
     .choices = "text json"},
    {.name = "--no-color",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct globals, no_color),
     .doc = "no colours ($NO_COLOR)"},
    {.name = "--help",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct globals, help),
     .doc = "this text"},
    {.name = "-h", .kind = OPTION_FLAG, .offset = offsetof(struct globals, help)},
    {.name = "--version",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct globals, version),
     .doc = "the version"},
    {.name = NULL},
};

static const struct option no_options[] = {{.name = NULL}};

static const struct option *find_option(const struct option *options, const char *word,
                                        size_t bytes)
{
    for (const struct option *o = options; o->name != NULL; o++) {
        if (strlen(o->name) == bytes && memcmp(o->name, word, bytes) == 0) {
            return o;
        }
    }
    return NULL;
}

static bool is_choice(const char *choices, const char *value)
{
    size_t bytes = strlen(value);
    for (const char *p = choices; bytes > 0 && (p = strstr(p, value)) != NULL; p++) {
        bool starts = p == choices || p[-1] == ' ';
        if (starts && (p[bytes] == ' ' || p[bytes] == '\0')) {
            return true;
        }
    }
    return false;
}

static int refuse_value(struct cli *cli, const struct option *o, const char *value)
{
    char *what = mem_printf("`%s` is no value for %s", value, o->name);
    char *hint = NULL;
    if (o->kind == OPTION_CHOICE) {
        hint = mem_printf("use one of: %s", o->choices);
    } else if (o->kind == OPTION_COUNT) {
        hint = mem_printf("use a whole number, %u..%u", o->min, o->max);
    } else {
        hint = mem_dup("use a time such as 30, 30s or 2m");
    }
    cli_error(cli, what, NULL, hint);
    mem_free(what);
    mem_free(hint);
    return EXIT_USAGE;
}

static int add_value(struct cli *cli, const struct option *o, struct option_list *list,
                     const char *value)
{
    if (list->count == OPTION_LIST_MAX) {
        char *what = mem_printf("%s is given too often", o->name);
        cli_error(cli, what, NULL, "64 times are the most");
        mem_free(what);
        return EXIT_USAGE;
    }
    list->items[list->count++] = value;
    return EXIT_DONE;
}

/* set_value - check one value and store it at the option's field. */
static int set_value(struct cli *cli, const struct option *o, void *options, const char *value)
{
    char *to = (char *)options + o->offset;
    int64_t number = 0;
    switch (o->kind) {
    case OPTION_FLAG:
        *(bool *)(void *)to = true;
        return EXIT_DONE;
    case OPTION_CHOICE:
        if (!is_choice(o->choices, value)) {
            return refuse_value(cli, o, value);
        }
        memcpy(to, &value, sizeof value);
        return EXIT_DONE;
    case OPTION_TEXT:
        memcpy(to, &value, sizeof value);
        return EXIT_DONE;
    case OPTION_LIST:
        return add_value(cli, o, (struct option_list *)(void *)to, value);
    case OPTION_COUNT:
        if (!text_parse_i64(value, &number) || number < o->min || number > o->max) {
            return refuse_value(cli, o, value);
        }
        *(uint32_t *)(void *)to = (uint32_t)number;
        return EXIT_DONE;
    case OPTION_SECONDS:
        if (text_parse_i64(value, &number) && number >= 0 && number <= INT32_MAX) {
            number *= 1000000;
        } else if (!text_parse_duration_us(value, &number)) {
            return refuse_value(cli, o, value);
        }
        *(uint64_t *)(void *)to = (uint64_t)number;
        return EXIT_DONE;
    }
    return EXIT_USAGE;
}

static int unknown_option(struct cli *cli, const struct option *options, const char *word,
                          const struct verb *verb)
{
    const char *names[VERBS_MAX];
    size_t count = 0;
    for (const struct option *o = options; o->name != NULL && count < VERBS_MAX; o++) {
        names[count++] = o->name;
    }
    for (const struct option *o = global_options; o->name != NULL && count < VERBS_MAX; o++) {
        names[count++] = o->name;
    }
    const char *near = text_nearest(word, names, count);
    char *what = mem_printf("unknown option `%s`", word);
    char *hint = near != NULL ? mem_printf("did you mean `%s`?", near)
                 : verb != NULL
                     ? mem_printf("see `oxbow %s --help`", verb->name)
                     : mem_dup("see `oxbow --help`; a verb's own options stand after the verb");
    cli_error(cli, what, NULL, hint);
    mem_free(what);
    mem_free(hint);
    return EXIT_USAGE;
}

/* parse_option - argv[*i] starts with '-': consume it, and the next word when it is its value. */
static int parse_option(struct cli *cli, struct globals *globals, struct command *out, int argc,
                        char **argv, int *i)
{
    const char *word = argv[*i];
    const char *equals = strncmp(word, "--", 2) == 0 ? strchr(word, '=') : NULL;
    size_t bytes = equals != NULL ? (size_t)(equals - word) : strlen(word);
    const struct option *own =
        out->verb != NULL && out->verb->options != NULL ? out->verb->options : no_options;
    void *options = out->options;
    const struct option *o = find_option(own, word, bytes);
    if (o == NULL) {
        o = find_option(global_options, word, bytes);
        options = globals;
    }
    if (o == NULL && strncmp(word, "-o", 2) == 0 && word[2] != '\0') { /* -ojson */
        return set_value(cli, find_option(global_options, "-o", 2), globals, word + 2);
    }
    if (o == NULL) {
        return unknown_option(cli, own, word, out->verb);
    }
    if (o->kind == OPTION_FLAG) {
        if (equals != NULL) {
            char *what = mem_printf("%s takes no value", o->name);
            cli_error(cli, what, NULL, "leave out the `=`");
            mem_free(what);
            return EXIT_USAGE;
        }
        return set_value(cli, o, options, NULL);
    }
    if (equals != NULL) {
        return set_value(cli, o, options, equals + 1);
    }
    if (*i + 1 >= argc) {
        char *what = mem_printf("%s needs a value", o->name);
        char *hint = mem_printf("write `%s %s`", o->name, o->value != NULL ? o->value : "VALUE");
        cli_error(cli, what, NULL, hint);
        mem_free(what);
        mem_free(hint);
        return EXIT_USAGE;
    }
    (*i)++;
    return set_value(cli, o, options, argv[*i]);
}

static int parse_word(struct cli *cli, const struct verb *const *verbs, struct command *out,
                      char *word)
{
    if (out->verb == NULL && out->arg_count == 0 && strcmp(word, "help") != 0) {
        out->verb = options_find_verb(verbs, word);
        if (out->verb == NULL) {
            return options_unknown_verb(cli, verbs, word);
        }
        out->options = mem_alloc(out->verb->options_bytes);
        return EXIT_DONE;
    }
    if (out->arg_count == CLI_ARGS_MAX) {
        cli_error(cli, "too many arguments", NULL, "see `oxbow --help`");
        return EXIT_USAGE;
    }
    out->args[out->arg_count++] = word; /* `help` itself lands here, as args[0] without a verb */
    return EXIT_DONE;
}

static int check_arg_count(struct cli *cli, const struct command *c)
{
    const struct verb *verb = c->verb;
    if (verb == NULL || c->help || c->version ||
        (c->arg_count >= verb->args_min && c->arg_count <= verb->args_max)) {
        return EXIT_DONE;
    }
    bool missing = c->arg_count < verb->args_min;
    char *what = missing ? mem_printf("`oxbow %s` needs more arguments", verb->name)
                         : mem_printf("unexpected argument `%s`", c->args[verb->args_max]);
    char *hint = mem_printf("usage: oxbow %s", verb->usage);
    cli_error(cli, what, NULL, hint);
    mem_free(what);
    mem_free(hint);
    return EXIT_USAGE;
}

int options_parse(struct cli *cli, const struct verb *const *verbs, int argc, char **argv,
                  struct command *out)
{
    struct globals globals = {0};
    memset(out, 0, sizeof *out);
    bool only_words = false;
    int code = EXIT_DONE;
    for (int i = 1; i < argc && code == EXIT_DONE; i++) {
        if (!only_words && strcmp(argv[i], "--") == 0) {
            only_words = true;
        } else if (!only_words && argv[i][0] == '-' && argv[i][1] != '\0') {
            code = parse_option(cli, &globals, out, argc, argv, &i);
        } else {
            code = parse_word(cli, verbs, out, argv[i]);
        }
    }
    out->help = globals.help;
    out->version = globals.version;
    out->no_color = globals.no_color;
    if (globals.master != NULL) {
        cli->master = globals.master;
    }
    cli->json = globals.output != NULL && strcmp(globals.output, "json") == 0;
    if (code == EXIT_DONE) {
        code = check_arg_count(cli, out);
    }
    if (code != EXIT_DONE) {
        command_fini(out);
    }
    return code;
}

void command_fini(struct command *c)
{
    mem_free(c->options);
    memset(c, 0, sizeof *c);
}

const struct verb *options_find_verb(const struct verb *const *verbs, const char *name)
{
    for (; *verbs != NULL; verbs++) {
        if (strcmp((*verbs)->name, name) == 0) {
            return *verbs;
        }
    }
    return NULL;
}

int options_unknown_verb(struct cli *cli, const struct verb *const *verbs, const char *name)
{
    const char *names[VERBS_MAX];
    size_t count = 0;
    for (; verbs[count] != NULL && count < VERBS_MAX; count++) {
        names[count] = verbs[count]->name;
    }
    const char *near = text_nearest(name, names, count);
    char *what = mem_printf("unknown verb `%s`", name);
    char *hint = near != NULL ? mem_printf("did you mean `%s`?", near)
                              : mem_dup("see `oxbow --help` for the verbs");
    cli_error(cli, what, NULL, hint);
    mem_free(what);
    mem_free(hint);
    return EXIT_USAGE;
}

static void print_options(FILE *out, const struct option *options)
{
    for (const struct option *o = options; o != NULL && o->name != NULL; o++) {
        if (o->doc != NULL) {
            char *left = mem_printf("%s%s%s", o->name, o->value != NULL ? " " : "",
                                    o->value != NULL ? o->value : "");
            fprintf(out, "  %-22s %s\n", left, o->doc);
            mem_free(left);
        }
    }
}

void options_help(FILE *out, const struct verb *const *verbs)
{
    fprintf(out, "Example: oxbow run access.yaml --workers 2\n\n"
                 "oxbow VERB ... drives Oxbow, a stream computing engine.\n\nVerbs:\n");
    for (; *verbs != NULL; verbs++) {
        fprintf(out, "  %-22s %s\n", (*verbs)->name, (*verbs)->brief);
    }
    fprintf(out, "  %-22s %s\n\nOptions, before or after the verb:\n", "help VERB",
            "how to use one verb");
    print_options(out, global_options);
    fprintf(out, "\nExit codes: 0 done, 1 ran and failed, 2 usage, 3 refused (nothing changed), "
                 "4 master unreachable,\n5 timed out.\n");
}

void options_help_verb(FILE *out, const struct verb *verb)
{
    fprintf(out, "%s\n\nUsage: oxbow %s\n", verb->help, verb->usage);
    if (verb->options != NULL) {
        fprintf(out, "\nOptions:\n");
        print_options(out, verb->options);
    }
    fprintf(out, "\nOptions of every verb:\n");
    print_options(out, global_options);
}
