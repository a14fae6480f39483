/* pe/builtin/csv.c - RFC 4180 records: cut into cells, and cells into typed columns.
 *
 * See:        pe/builtin/csv.h, tests/unit/builtin/csv_test.c */
#include "pe/builtin/csv.h"

#include "core/mem.h"
#include "core/text.h"
#include "pe/builtin/lines.h"

void csv_fini(struct csv *c)
{
    mem_free(c->columns);
    mem_free(c->cells);
    strbuf_fini(&c->scratch);
    strbuf_fini(&c->repaired);
    memset(c, 0, sizeof *c);
}

/* cut_quoted - a cell whose opening quote is at text[at].
 * Return: where it ends (a comma, a line end or `bytes`); SIZE_MAX: more is needed, or *why. */
static size_t cut_quoted(const char *text, size_t at, size_t bytes, bool is_final,
                         struct csv_cell *cell, const char **why)
{
    size_t from = at + 1;
    size_t i = from;
    cell->has_doubled = false;
    for (;;) {
        const char *quote = i < bytes ? memchr(text + i, '"', bytes - i) : NULL;
        if (quote == NULL) {
            *why = is_final ? "a quote is never closed" : NULL;
            return SIZE_MAX;
        }
        i = (size_t)(quote - text) + 1;
        if (i == bytes && !is_final) { /* it may be the first of two */
            return SIZE_MAX;
        }
        if (i == bytes || text[i] != '"') {
            break;
        }
        cell->has_doubled = true;
        i++;
    }
    cell->text = text + from;
    cell->bytes = i - 1 - from;
    size_t end = i;
    if (end < bytes && text[end] == '\r') {
        end++;
        if (end == bytes && !is_final) {
            return SIZE_MAX;
        }
        if (end < bytes && text[end] != '\n') {
            *why = "text follows a closing quote";
            return SIZE_MAX;
        }
    }
    if (end < bytes && text[end] != ',' && text[end] != '\n') {
        *why = "text follows a closing quote";
        return SIZE_MAX;
    }
    return end;
}

static size_t cut_plain(const char *text, size_t at, size_t bytes, bool is_final,
                        struct csv_cell *cell)
{
    size_t end = at;
    while (end < bytes && text[end] != ',' && text[end] != '\n') {
        end++;
    }
    if (end == bytes && !is_final) {
        return SIZE_MAX;
    }
    cell->text = text + at;
    cell->bytes = end - at;
    cell->has_doubled = false;
    bool ends_line = end == bytes || text[end] == '\n';
    if (ends_line && cell->bytes > 0 && text[end - 1] == '\r') {
        cell->bytes--;
    }
    return end;
}

enum csv_cut csv_cut(struct csv *c, const char *text, size_t bytes, bool is_final, size_t *taken,
                     const char **why)
{
    if (c->cells == NULL) {
        c->cells = mem_array(CSV_COLUMNS_MAX, sizeof *c->cells);
    }
    *why = NULL;
    c->cell_count = 0;
    size_t at = 0;
    for (;;) {
        if (c->cell_count == CSV_COLUMNS_MAX) {
            *why = "a record has more than 4096 cells";
            return CSV_BAD;
        }
        struct csv_cell *cell = &c->cells[c->cell_count];
        bool quoted = at < bytes && text[at] == '"';
        size_t end = quoted ? cut_quoted(text, at, bytes, is_final, cell, why)
                            : cut_plain(text, at, bytes, is_final, cell);
        if (end == SIZE_MAX) {
            return *why != NULL ? CSV_BAD : CSV_MORE;
        }
        c->cell_count++;
        if (end == bytes || text[end] == '\n') {
            *taken = end == bytes ? end : end + 1;
            return CSV_RECORD;
        }
        at = end + 1;
    }
}

/* plain_cell - the cell without doubled quotes, ending with NUL; borrowed until the next call. */
static const char *plain_cell(struct csv *c, const struct csv_cell *cell, size_t *bytes)
{
    strbuf_clear(&c->scratch);
    if (!cell->has_doubled) {
        strbuf_add(&c->scratch, cell->text, cell->bytes);
    } else {
        for (size_t i = 0; i < cell->bytes; i++) {
            strbuf_char(&c->scratch, cell->text[i]);
            i += cell->text[i] == '"' ? 1 : 0;
        }
    }
    *bytes = c->scratch.bytes;
    return strbuf_text(&c->scratch);
}

static bool find_column(struct csv *c, const char *name, uint32_t *column)
{
    for (uint32_t i = 0; i < c->cell_count; i++) {
        size_t bytes;
        const char *cell = plain_cell(c, &c->cells[i], &bytes);
        if (bytes == strlen(name) && memcmp(cell, name, bytes) == 0) {
            *column = i;
            return true;
        }
    }
    return false;
}

bool csv_header(struct csv *c, const struct oxb_schema *schema, const char **missing)
{
    mem_free(c->columns);
    c->columns = mem_array(schema->field_count, sizeof *c->columns);
    c->field_count = schema->field_count;
    c->column_count = c->cell_count;
    for (uint32_t f = 0; f < schema->field_count; f++) {
        if (!find_column(c, schema->fields[f].name, &c->columns[f])) {
            *missing = schema->fields[f].name;
            return false;
        }
    }
    return true;
}

static bool parse_bool(const char *s, bool *out)
{
    *out = strcmp(s, "true") == 0 || strcmp(s, "1") == 0;
    return *out || strcmp(s, "false") == 0 || strcmp(s, "0") == 0;
}

/* put_parsed - a cell of a type that is not text.  Return: NULL, or what was expected (static). */
static const char *put_parsed(struct oxb_writer *w, unsigned f, uint32_t row, enum oxb_type type,
                              const char *text, size_t bytes)
{
    int64_t i64;
    double f64;
    bool flag;
    if (strlen(text) != bytes) {
        return "holds a NUL byte";
    }
    switch (type) {
    case OXB_I64:
        if (!text_parse_i64(text, &i64)) {
            return "is not a whole number";
        }
        oxb_put_i64(w, f, row, i64);
        return NULL;
    case OXB_TIME:
        if (!text_parse_rfc3339_us(text, bytes, &i64) && !text_parse_i64(text, &i64)) {
            return "is not a time such as 2026-01-31T12:00:00Z, nor microseconds";
        }
        oxb_put_i64(w, f, row, i64);
        return NULL;
    case OXB_F64:
        if (!text_parse_f64(text, &f64)) {
            return "is not a number";
        }
        oxb_put_f64(w, f, row, f64);
        return NULL;
    case OXB_BOOL:
        if (!parse_bool(text, &flag)) {
            return "is not true, false, 1 or 0";
        }
        oxb_put_bool(w, f, row, flag);
        return NULL;
    default:
        return "has a type that csv cannot hold";
    }
}

bool csv_put(struct csv *c, const struct oxb_schema *schema, struct oxb_writer *w, uint32_t row,
             const char **bad, const char **why)
{
    for (uint32_t f = 0; f < c->field_count; f++) {
        enum oxb_type type = schema->fields[f].type;
        *bad = schema->fields[f].name;
        if (c->columns[f] >= c->cell_count) {
            *why = "is missing: the record has fewer cells than the header";
            return false;
        }
        const struct csv_cell *cell = &c->cells[c->columns[f]];
        const char *text = cell->text;
        size_t bytes = cell->bytes;
        bool is_text = type == OXB_STR || type == OXB_BYTES;
        if (!is_text || cell->has_doubled) {
            text = plain_cell(c, cell, &bytes);
        }
        if (is_text) {
            text_put(w, f, row, text, bytes, c->is_plain || type == OXB_BYTES, &c->repaired);
            continue;
        }
        *why = put_parsed(w, f, row, type, text, bytes);
        if (*why != NULL) {
            return false;
        }
    }
    return true;
}
