/* cli/print.c - how results and errors look: error lines, tables, numbers for people.
 *
 * Owns:       struct table.
 * Invariants: P1 a table without colour holds no escape sequence and no trailing blank.
 * See:        tests/unit/cli/print_test.c */
#include "cli/print.h"

#include "core/mem.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

static const char *const style_codes[] = {
    [TABLE_PLAIN] = "",       [TABLE_GOOD] = "\033[32m", [TABLE_WARN] = "\033[33m",
    [TABLE_BAD] = "\033[31m", [TABLE_DIM] = "\033[2m",
};

void cli_error(struct cli *cli, const char *what, const char *why, const char *hint)
{
    fprintf(cli->err, "%serror:%s %s", cli->color_err ? "\033[1;31m" : "",
            cli->color_err ? "\033[0m" : "", what);
    if (why != NULL && why[0] != '\0') {
        fprintf(cli->err, "; %s", why);
    }
    if (hint != NULL && hint[0] != '\0') {
        fprintf(cli->err, "; %s", hint);
    }
    fputc('\n', cli->err);
}

int cli_fail(struct cli *cli, const struct fail *f)
{
    cli_error(cli, f->what[0] != '\0' ? f->what : err_text(f->code), NULL, f->hint);
    if (f->code == ERR_CLOSED) {
        return EXIT_UNREACHABLE;
    }
    if (f->code == ERR_TIMEOUT) {
        return EXIT_TIMEOUT;
    }
    return err_kind(f->code) == ERR_KIND_REFUSE ? EXIT_REFUSED : EXIT_FAILED;
}

static void print_diag(struct cli *cli, const json_t *diag, const char *file)
{
    const char *hint = json_text_of(diag, "hint");
    fprintf(cli->err, "%s:%" PRIu64 ":%" PRIu64 ": %s%s%s%s%s\n", file, json_count_of(diag, "line"),
            json_count_of(diag, "column"),
            strcmp(json_text_of(diag, "level"), "warning") == 0 ? "warning: " : "",
            json_text_of(diag, "message"), hint[0] != '\0' ? " (" : "", hint,
            hint[0] != '\0' ? ")" : "");
}

int cli_refused(struct cli *cli, const struct client_reply *r, const char *file)
{
    const json_t *error = json_object_get(r->json, "error");
    const json_t *diags = json_object_get(error, "diags");
    size_t i;
    json_t *diag;
    json_array_foreach(diags, i, diag)
    {
        print_diag(cli, diag, file != NULL ? file : "topology");
    }
    char *status = mem_printf("the master answered with status %ld", r->status);
    const char *message = json_text_of(error, "message");
    const char *where = json_text_of(error, "where");
    char *about = strstr(message, where) == NULL ? mem_printf("about '%s'", where) : NULL;
    cli_error(cli, message[0] != '\0' ? message : status, about, json_text_of(error, "hint"));
    mem_free(about);
    mem_free(status);
    if (r->status == 504 || r->status == 408) {
        return EXIT_TIMEOUT;
    }
    bool refused = (r->status >= 400 && r->status < 500) || r->status == 503;
    return refused ? EXIT_REFUSED : EXIT_FAILED;
}

int cli_get(struct cli *cli, const char *path, json_t **out)
{
    struct fail f = {0};
    struct client_reply reply;
    enum err e = client_call(cli->master, "GET", path, NULL, NULL, 0, &reply, &f);
    if (e != ERR_OK) {
        return cli_fail(cli, &f);
    }
    int code = EXIT_DONE;
    if (reply.status < 200 || reply.status > 299) {
        code = cli_refused(cli, &reply, NULL);
    } else if (reply.json == NULL) {
        cli_error(cli, "the answer is no JSON", cli->master,
                  "is that the address of an Oxbow master?");
        code = EXIT_UNREACHABLE;
    } else {
        *out = json_incref(reply.json);
    }
    client_reply_fini(&reply);
    return code;
}

void cli_print_json(FILE *out, const json_t *document)
{
    json_dumpf(document, out, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(10));
    fputc('\n', out);
}

void number_count(uint64_t n, char out[NUMBER_TEXT_BYTES])
{
    char digits[NUMBER_TEXT_BYTES];
    int count = snprintf(digits, sizeof digits, "%" PRIu64, n);
    char *to = out;
    for (int i = 0; i < count; i++) {
        if (i > 0 && (count - i) % 3 == 0) {
            *to++ = ',';
        }
        *to++ = digits[i];
    }
    *to = '\0';
}

void number_rate(double per_second, char out[NUMBER_TEXT_BYTES])
{
    static const char *const units[] = {"", "k", "M", "G"};
    unsigned unit = 0;
    while (per_second >= 999.95 && unit < 3) {
        per_second /= 1000;
        unit++;
    }
    bool whole = unit == 0 && (per_second < 0.05 || per_second >= 99.5);
    snprintf(out, NUMBER_TEXT_BYTES, "%.*f%s", whole ? 0 : 1, per_second, units[unit]);
}

void number_share(double share, char out[NUMBER_TEXT_BYTES])
{
    snprintf(out, NUMBER_TEXT_BYTES, "%.0f%%", share * 100);
}

void number_us(double us, char out[NUMBER_TEXT_BYTES])
{
    if (us < 999.5) {
        snprintf(out, NUMBER_TEXT_BYTES, "%.0f us", us);
    } else if (us < 999500) {
        snprintf(out, NUMBER_TEXT_BYTES, "%.1f ms", us / 1000);
    } else {
        snprintf(out, NUMBER_TEXT_BYTES, "%.1f s", us / 1000000);
    }
}

void table_init(struct table *t, const char *const *heads, unsigned columns)
{
    memset(t, 0, sizeof *t);
    t->heads = heads;
    t->columns = columns;
}

void table_fini(struct table *t)
{
    for (size_t i = 0; i < t->used; i++) {
        mem_free(t->cells[i].text);
    }
    mem_free(t->cells);
    memset(t, 0, sizeof *t);
}

void table_cell(struct table *t, const char *text)
{
    table_styled(t, text, TABLE_PLAIN);
}

void table_styled(struct table *t, const char *text, enum table_style style)
{
    t->cells = mem_grow(t->cells, t->used, &t->capacity, sizeof *t->cells);
    t->cells[t->used].text = mem_dup(text);
    t->cells[t->used].style = style;
    t->used++;
}

static size_t text_width(const char *s) /* in code points: names are ASCII, docs may not be */
{
    size_t width = 0;
    for (; *s != '\0'; s++) {
        width += ((unsigned char)*s & 0xc0) != 0x80;
    }
    return width;
}

static void print_padded(FILE *out, const char *text, size_t width, bool right, bool last)
{
    int blanks = (int)(width - text_width(text));
    if (right) {
        fprintf(out, "%*s%s", blanks, "", text);
    } else {
        fprintf(out, "%s%*s", text, last ? 0 : blanks, "");
    }
}

void table_print(const struct table *t, FILE *out, bool color)
{
    size_t *widths = mem_array(t->columns, sizeof *widths);
    for (unsigned c = 0; c < t->columns; c++) {
        widths[c] = text_width(t->heads[c] + (t->heads[c][0] == '>'));
        for (size_t i = c; i < t->used; i += t->columns) {
            size_t width = text_width(t->cells[i].text);
            widths[c] = width > widths[c] ? width : widths[c];
        }
    }
    for (unsigned c = 0; c < t->columns; c++) {
        bool right = t->heads[c][0] == '>';
        fputs(c > 0 ? "  " : "", out);
        print_padded(out, t->heads[c] + right, widths[c], right, c + 1 == t->columns);
    }
    fputc('\n', out);
    for (size_t i = 0; i < t->used; i++) {
        unsigned c = (unsigned)(i % t->columns);
        bool styled = color && t->cells[i].style != TABLE_PLAIN;
        fputs(c > 0 ? "  " : "", out);
        fputs(styled ? style_codes[t->cells[i].style] : "", out);
        print_padded(out, t->cells[i].text, widths[c], t->heads[c][0] == '>', c + 1 == t->columns);
        fputs(styled ? "\033[0m" : "", out);
        fputs(c + 1 == t->columns ? "\n" : "", out);
    }
    mem_free(widths);
}

static void print_markdown_text(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|') {
            fputc('\\', out);
        }
        fputc(*text, out);
    }
}

void table_markdown(const struct table *t, FILE *out)
{
    for (unsigned c = 0; c < t->columns; c++) {
        const char *head = t->heads[c] + (t->heads[c][0] == '>');
        fputs("| ", out);
        for (const char *p = head; *p != '\0'; p++) {
            fputc(tolower((unsigned char)*p), out);
        }
        fputc(' ', out);
    }
    fputs("|\n", out);
    for (unsigned c = 0; c < t->columns; c++) {
        fputs(t->heads[c][0] == '>' ? "|---:" : "|---", out);
    }
    fputs("|\n", out);
    for (size_t i = 0; i < t->used; i++) {
        fputs("| ", out);
        print_markdown_text(out, t->cells[i].text);
        fputs((i + 1) % t->columns == 0 ? " |\n" : " ", out);
    }
}

enum table_style state_style(const char *state)
{
    static const struct {
        const char *state;
        enum table_style style;
    } styles[] = {
        {"running", TABLE_GOOD},   {"up", TABLE_GOOD},       {"finished", TABLE_GOOD},
        {"deploying", TABLE_WARN}, {"draining", TABLE_WARN}, {"stopped", TABLE_DIM},
        {"ended", TABLE_DIM},      {"failed", TABLE_BAD},    {"lost", TABLE_BAD},
        {"held", TABLE_WARN},      {"stuck", TABLE_BAD},
    };
    for (size_t i = 0; i < sizeof styles / sizeof styles[0]; i++) {
        if (strcmp(styles[i].state, state) == 0) {
            return styles[i].style;
        }
    }
    return TABLE_PLAIN;
}

const char *json_text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

double json_real_of(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

uint64_t json_count_of(const json_t *object, const char *key)
{
    double n = json_number_value(json_object_get(object, key));
    const json_t *value = json_object_get(object, key);
    if (json_is_integer(value)) {
        json_int_t whole = json_integer_value(value);
        return whole > 0 ? (uint64_t)whole : 0;
    }
    return n > 0 ? (uint64_t)n : 0;
}
