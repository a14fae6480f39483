/* pe/builtin/filter.c - lets the tuples through whose field compares as asked.
 *
 * Owns:       struct filter: the constant, parsed for the type of the field, and the loop for it.
 * Invariants: F1 no row moves: the result is a selection, written without a branch per row.
 *             F2 the constant is read at bind, when the field's type is known; a constant that does
 *             not fit is an error there, before any tuple.
 * Why:        one loop per type of column and comparison, so that the compiler sees both. */
#include "core/mem.h"
#include "core/text.h"
#include "pe/builtin/builtin.h"

#include <jansson.h>
#include <regex.h>

enum op { OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_MATCH, OP_COUNT };

static const char *const op_names[OP_COUNT] = {"eq", "ne", "lt", "le", "gt", "ge", "match"};

struct filter;
/* Writes the rows that pass to out[].  Return: how many. */
typedef uint32_t (*scan_fn)(const struct filter *f, const struct oxb_batch *in, uint16_t *out);

struct filter {
    enum op op;
    unsigned field;
    scan_fn scan;
    int64_t i64; /* the constant, by type of the field: also time and bool */
    double f64;
    char *text;
    size_t text_bytes;
    regex_t regex;
    bool has_regex;
};

/* SCAN - a function that keeps the rows i for which TEST holds. */
#define SCAN(NAME, TYPE, SETUP, TEST)                                                              \
    static uint32_t NAME(const struct filter *f, const struct oxb_batch *in,                       \
                         uint16_t *restrict out)                                                   \
    {                                                                                              \
        const TYPE *v = (const TYPE *)in->cols[f->field].data;                                     \
        SETUP;                                                                                     \
        uint32_t n = 0;                                                                            \
        if (in->sel == NULL) {                                                                     \
            for (uint32_t i = 0; i < in->rows; i++) {                                              \
                out[n] = (uint16_t)i;                                                              \
                n += (TEST) ? 1u : 0u;                                                             \
            }                                                                                      \
            return n;                                                                              \
        }                                                                                          \
        for (uint32_t k = 0; k < in->live; k++) {                                                  \
            uint32_t i = in->sel[k];                                                               \
            out[n] = (uint16_t)i;                                                                  \
            n += (TEST) ? 1u : 0u;                                                                 \
        }                                                                                          \
        return n;                                                                                  \
    }

#define SCAN_NUMBER(SUFFIX, TYPE, MEMBER)                                                          \
    SCAN(eq_##SUFFIX, TYPE, const TYPE c = (TYPE)f->MEMBER, v[i] == c)                             \
    SCAN(ne_##SUFFIX, TYPE, const TYPE c = (TYPE)f->MEMBER, v[i] != c)                             \
    SCAN(lt_##SUFFIX, TYPE, const TYPE c = (TYPE)f->MEMBER, v[i] < c)                              \
    SCAN(le_##SUFFIX, TYPE, const TYPE c = (TYPE)f->MEMBER, v[i] <= c)                             \
    SCAN(gt_##SUFFIX, TYPE, const TYPE c = (TYPE)f->MEMBER, v[i] > c)                              \
    SCAN(ge_##SUFFIX, TYPE, const TYPE c = (TYPE)f->MEMBER, v[i] >= c)

SCAN_NUMBER(i64, int64_t, i64)
SCAN_NUMBER(f64, double, f64)
SCAN(eq_bool, uint8_t, const uint8_t c = (uint8_t)f->i64, v[i] == c)
SCAN(ne_bool, uint8_t, const uint8_t c = (uint8_t)f->i64, v[i] != c)

static inline bool text_equal(const struct filter *f, const uint8_t *heap, struct oxb_ref r)
{
    return r.len == f->text_bytes && memcmp(heap + r.off, f->text, r.len) == 0;
}

/* text_compare - by bytes, which for UTF-8 is the order of code points. */
static inline int text_compare(const struct filter *f, const uint8_t *heap, struct oxb_ref r)
{
    size_t common = r.len < f->text_bytes ? r.len : f->text_bytes;
    int c = common > 0 ? memcmp(heap + r.off, f->text, common) : 0;
    return c != 0 ? c : (r.len > f->text_bytes) - (r.len < f->text_bytes);
}

static inline bool text_matches(const struct filter *f, const uint8_t *heap, struct oxb_ref r)
{
    regmatch_t span = {.rm_so = 0, .rm_eo = (regoff_t)r.len};
    const char *text = r.len > 0 ? (const char *)heap + r.off : "";
    return regexec(&f->regex, text, 1, &span, REG_STARTEND) == 0;
}

#define HEAP const uint8_t *heap = in->cols[f->field].heap
SCAN(eq_text, struct oxb_ref, HEAP, text_equal(f, heap, v[i]))
SCAN(ne_text, struct oxb_ref, HEAP, !text_equal(f, heap, v[i]))
SCAN(lt_text, struct oxb_ref, HEAP, text_compare(f, heap, v[i]) < 0)
SCAN(le_text, struct oxb_ref, HEAP, text_compare(f, heap, v[i]) <= 0)
SCAN(gt_text, struct oxb_ref, HEAP, text_compare(f, heap, v[i]) > 0)
SCAN(ge_text, struct oxb_ref, HEAP, text_compare(f, heap, v[i]) >= 0)
SCAN(match_text, struct oxb_ref, HEAP, text_matches(f, heap, v[i]))

static const scan_fn scans_i64[OP_COUNT] = {eq_i64, ne_i64, lt_i64, le_i64, gt_i64, ge_i64, NULL};
static const scan_fn scans_f64[OP_COUNT] = {eq_f64, ne_f64, lt_f64, le_f64, gt_f64, ge_f64, NULL};
static const scan_fn scans_bool[OP_COUNT] = {eq_bool, ne_bool, NULL, NULL, NULL, NULL, NULL};
static const scan_fn scans_text[OP_COUNT] = {eq_text, ne_text, lt_text,   le_text,
                                             gt_text, ge_text, match_text};

static const scan_fn *scans_of(enum oxb_type type)
{
    switch (type) {
    case OXB_I64:
    case OXB_TIME:
        return scans_i64;
    case OXB_F64:
        return scans_f64;
    case OXB_BOOL:
        return scans_bool;
    case OXB_STR:
    case OXB_BYTES:
        return scans_text;
    case OXB_NONE:
    case OXB_F32:
        break;
    }
    return NULL;
}

static int prepare(struct oxb_pe *pe)
{
    struct filter *f = oxb_self(pe);
    unsigned found = 0;
    for (unsigned op = 0; op < OP_COUNT; op++) {
        if (oxb_param_has(pe, op_names[op])) {
            f->op = (enum op)op;
            found++;
        }
    }
    if (found != 1) {
        return oxb_fail(pe, "%s of eq, ne, lt, le, gt, ge, match is given; give exactly one",
                        found == 0 ? "none" : "more than one");
    }
    if (f->op == OP_MATCH) {
        int e = regcomp(&f->regex, oxb_param_str(pe, "match"), REG_EXTENDED | REG_NOSUB);
        if (e != 0) {
            char why[128];
            regerror(e, &f->regex, why, sizeof why);
            return oxb_fail(pe, "`match` is no extended regular expression: %s", why);
        }
        f->has_regex = true;
    }
    return OXB_OK;
}

/* take_constant - the constant as the type wants it.  Return: false when it does not fit. */
static bool take_constant(struct filter *f, enum oxb_type type, const json_t *value)
{
    const char *text = json_string_value(value);
    switch (type) {
    case OXB_I64:
        f->i64 = json_integer_value(value);
        return json_is_integer(value) || (text != NULL && text_parse_i64(text, &f->i64));
    case OXB_F64:
        f->f64 = json_number_value(value);
        return json_is_number(value) || (text != NULL && text_parse_f64(text, &f->f64));
    case OXB_BOOL:
        f->i64 = json_is_true(value) ? 1 : 0;
        return json_is_boolean(value);
    case OXB_TIME:
        f->i64 = json_integer_value(value);
        return json_is_integer(value) ||
               (text != NULL && text_parse_rfc3339_us(text, json_string_length(value), &f->i64));
    case OXB_STR:
    case OXB_BYTES:
        mem_free(f->text);
        f->text_bytes = json_string_length(value);
        f->text = mem_dup_n(text != NULL ? text : "", f->text_bytes);
        return text != NULL;
    case OXB_NONE:
    case OXB_F32:
        break;
    }
    return false;
}

static const char *wanted(enum oxb_type type)
{
    switch (type) {
    case OXB_I64:
        return "a whole number";
    case OXB_F64:
        return "a number";
    case OXB_BOOL:
        return "true or false";
    case OXB_TIME:
        return "a time such as 2026-01-31T12:00:00Z, or microseconds";
    default:
        return "text; put it in quotes";
    }
}

static int bind(struct oxb_pe *pe, unsigned port, const struct oxb_schema *schema)
{
    struct filter *f = oxb_self(pe);
    const char *name = oxb_param_str(pe, "field");
    const char *op = op_names[f->op];
    int field = oxb_field(schema, name);
    (void)port;
    if (field < 0) {
        return oxb_fail(pe, "the input has no field `%s`; it has: %s", name, schema->text);
    }
    enum oxb_type type = schema->fields[field].type;
    const scan_fn *scans = scans_of(type);
    if (scans == NULL || scans[f->op] == NULL) {
        return oxb_fail(pe, "`%s` cannot compare field `%s`; the input has: %s", op, name,
                        schema->text);
    }
    f->field = (unsigned)field;
    f->scan = scans[f->op];
    if (f->op == OP_MATCH) {
        return OXB_OK;
    }
    const char *text = oxb_param_json(pe, op);
    json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    bool fits = take_constant(f, type, value);
    json_decref(value);
    if (!fits) {
        return oxb_fail(pe, "`%s: %s` does not fit field `%s`, which takes %s", op, text, name,
                        wanted(type));
    }
    return OXB_OK;
}

static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    const struct filter *f = oxb_self(pe);
    (void)port;
    uint16_t *sel = oxb_sel(pe);
    uint32_t live = f->scan(f, in, sel);
    if (live == 0) {
        return OXB_OK;
    }
    if (live < in->live) {
        oxb_keep(in, sel, live);
    }
    oxb_forward(pe, 0, in);
    return OXB_OK;
}

static void drop(struct oxb_pe *pe)
{
    struct filter *f = oxb_self(pe);
    if (f->has_regex) {
        regfree(&f->regex);
    }
    mem_free(f->text);
}

static const struct oxb_param params[] = {
    {.name = "field", .type = OXB_P_FIELD, .flags = OXB_REQUIRED, .doc = "the field to look at"},
    {.name = "eq", .type = OXB_P_ANY, .doc = "pass when equal to this"},
    {.name = "ne", .type = OXB_P_ANY, .doc = "pass when not equal to this"},
    {.name = "lt", .type = OXB_P_ANY, .doc = "pass when less than this"},
    {.name = "le", .type = OXB_P_ANY, .doc = "pass when at most this"},
    {.name = "gt", .type = OXB_P_ANY, .doc = "pass when greater than this"},
    {.name = "ge", .type = OXB_P_ANY, .doc = "pass when at least this"},
    {.name = "match",
     .type = OXB_P_STR,
     .doc = "pass when this POSIX extended regular expression matches somewhere in the text"},
    {.name = NULL},
};

static const struct oxb_port outputs[] = {
    {"out", "*", "what passes"},
    {NULL, NULL, NULL},
};

const struct oxb_pe_type builtin_filter = {
    .abi = OXB_ABI,
    .name = "filter",
    .doc = "passes tuples whose field compares as asked; give exactly one comparison",
    .params = params,
    .outputs = outputs,
    .state_version = 1,
    .self_bytes = sizeof(struct filter),
    .prepare = prepare,
    .bind = bind,
    .process = process,
    .drop = drop,
};
