/* pe/json_in.c - one JSON object into a row of an open batch.
 *
 * Threads:    the builder's holder.
 * Invariants: J1 of pe/json_out.c.  J3 a row that fails leaves the builder as it was.
 *             J4 text that enters is checked: strings are UTF-8 afterwards.
 * Why:        parsed by hand into the columns: a DOM library allocates per cell, and the keys come
 *             in the schema's order nearly always, so the next field is tried first.
 *             Members that the schema does not name are skipped.
 * See:        pe/json_scan.c, tests/unit/pe/json_test.c */
#include "core/text.h"
#include "pe/batch.h"
#include "pe/json.h"
#include "pe/schema.h"

#include <math.h>
#include <stdio.h>

static bool parse_object(struct builder *to, struct json_cursor *c, const struct oxb_field **bad);
static bool parse_key(struct json_cursor *c, const char **key, uint32_t *bytes);
static int field_of(const struct schema *s, uint32_t expected, const char *key, uint32_t bytes);
static bool parse_cell(struct builder *to, uint32_t field, struct json_cursor *c);
static bool parse_string(struct builder *to, uint32_t field, struct json_cursor *c);
static bool parse_bytes(struct builder *to, uint32_t field, struct json_cursor *c);
static bool parse_time(struct json_cursor *c, int64_t *out);
static bool parse_tensor(const struct oxb_field *f, float *to, struct json_cursor *c);
static bool word_is(struct json_cursor *c, const char *word);

enum err row_parse_json(struct builder *to, const char *text, size_t bytes, struct fail *f)
{
    oxb_row(&to->pub);
    uint32_t heap_used[FIELDS_MAX];
    uint32_t heap_left = to->pub.heap_left;
    for (uint32_t i = 0; i < to->pub.field_count; i++) {
        heap_used[i] = to->pub.cols[i].heap_used;
    }
    struct json_cursor c = {.at = text, .end = text + bytes};
    const struct oxb_field *bad = NULL;
    if (bytes <= TUPLE_BYTES_MAX && parse_object(to, &c, &bad)) {
        oxb_commit(&to->pub);
        return ERR_OK;
    }
    for (uint32_t i = 0; i < to->pub.field_count; i++) { /* J3 */
        to->pub.cols[i].heap_used = heap_used[i];
    }
    to->pub.heap_left = heap_left;
    if (bytes > TUPLE_BYTES_MAX) {
        return fail_set(f, ERR_LIMIT, "", "a JSON object of %zu bytes; at most %u", bytes,
                        TUPLE_BYTES_MAX);
    }
    return fail_set(f, ERR_INVALID, "", "%s%s%s%s at byte %zu of `%.*s`",
                    bad != NULL ? "field `" : "", bad != NULL ? bad->name : "",
                    bad != NULL ? "`: " : "", c.problem != NULL ? c.problem : "malformed",
                    (size_t)(c.at - text), (int)(bytes < 120 ? bytes : 120), text);
}

static bool parse_object(struct builder *to, struct json_cursor *c, const struct oxb_field **bad)
{
    const struct schema *s = schema_of(to->schema);
    uint64_t seen[(FIELDS_MAX + 63) / 64] = {0};
    uint32_t missing = s->pub.field_count;
    uint32_t expected = 0;
    json_space(c);
    if (c->at == c->end || *c->at != '{') {
        return json_fail(c, "expected an object");
    }
    c->at++;
    json_space(c);
    bool more = c->at < c->end && *c->at != '}';
    while (more) {
        const char *key = NULL;
        uint32_t bytes = 0;
        if (!parse_key(c, &key, &bytes)) {
            return false;
        }
        int field = field_of(s, expected, key, bytes);
        if (field < 0) {
            if (!json_skip_value(c)) {
                return false;
            }
        } else {
            uint32_t i = (uint32_t)field;
            if (!parse_cell(to, i, c)) {
                *bad = &s->pub.fields[i];
                return false;
            }
            uint64_t bit = 1ull << (i % 64);
            missing -= (seen[i / 64] & bit) == 0 ? 1 : 0;
            seen[i / 64] |= bit;
            expected = i + 1;
        }
        json_space(c);
        more = c->at < c->end && *c->at == ',';
        c->at += more ? 1 : 0;
    }
    if (c->at == c->end || *c->at != '}') {
        return json_fail(c, "expected `,` or `}`");
    }
    c->at++;
    json_space(c);
    if (c->at != c->end) {
        return json_fail(c, "text after the object");
    }
    for (uint32_t i = 0; i < s->pub.field_count && missing > 0; i++) {
        if ((seen[i / 64] >> (i % 64) & 1) == 0) {
            *bad = &s->pub.fields[i];
            return json_fail(c, "missing");
        }
    }
    return true;
}

static bool parse_key(struct json_cursor *c, const char **key, uint32_t *bytes)
{
    json_space(c);
    if (c->at == c->end || *c->at != '"') {
        return json_fail(c, "expected a name in quotes");
    }
    const char *first = ++c->at;
    while (c->at < c->end && *c->at != '"') {
        c->at += *c->at == '\\' && c->end - c->at > 1 ? 2 : 1;
    }
    *key = first;
    *bytes = (uint32_t)(c->at - first);
    if (c->at == c->end) {
        return json_fail(c, "a name has no end");
    }
    c->at++;
    json_space(c);
    if (c->at == c->end || *c->at != ':') {
        return json_fail(c, "expected `:`");
    }
    c->at++;
    json_space(c);
    return true;
}

static int field_of(const struct schema *s, uint32_t expected, const char *key, uint32_t bytes)
{
    for (uint32_t n = 0; n < s->pub.field_count; n++) {
        uint32_t i = expected + n;
        i = i >= s->pub.field_count ? i % s->pub.field_count : i;
        if (s->name_bytes[i] == bytes && memcmp(s->pub.fields[i].name, key, bytes) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static bool parse_cell(struct builder *to, uint32_t field, struct json_cursor *c)
{
    const struct oxb_field *f = &to->schema->fields[field];
    struct oxb_writer *w = &to->pub;
    uint32_t row = w->rows;
    int64_t i;
    double d;
    switch (f->type) {
    case OXB_I64:
        if (!json_integer_value_at(c, &i)) {
            return false;
        }
        oxb_put_i64(w, field, row, i);
        return true;
    case OXB_F64:
        if (word_is(c, "null")) {
            d = NAN;
        } else if (!json_number(c, &d)) {
            return false;
        }
        oxb_put_f64(w, field, row, d);
        return true;
    case OXB_BOOL: {
        bool yes = word_is(c, "true");
        if (!yes && !word_is(c, "false")) {
            return json_fail(c, "expected true or false");
        }
        oxb_put_bool(w, field, row, yes);
        return true;
    }
    case OXB_TIME:
        if (!parse_time(c, &i)) {
            return false;
        }
        oxb_put_i64(w, field, row, i);
        return true;
    case OXB_STR:
        return parse_string(to, field, c);
    case OXB_BYTES:
        return parse_bytes(to, field, c);
    case OXB_F32:
        return parse_tensor(f, oxb_put_f32(w, field, row, f->elements), c);
    case OXB_NONE:
        break;
    }
    return json_fail(c, "has no type");
}

static bool word_is(struct json_cursor *c, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0) {
        return false;
    }
    c->at += n;
    return true;
}

/* ---- strings ---- */

static int hex4(const char *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char ch = p[i];
        int digit = ch >= '0' && ch <= '9'   ? ch - '0'
                    : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
                    : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
                                             : -1;
        if (digit < 0) {
            return -1;
        }
        v = v * 16 + digit;
    }
    return v;
}

static uint8_t *put_utf8(uint8_t *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (uint8_t)code;
    } else if (code < 0x800) {
        *to++ = (uint8_t)(0xc0 | code >> 6);
        *to++ = (uint8_t)(0x80 | (code & 0x3f));
    } else {
        if (code < 0x10000) {
            *to++ = (uint8_t)(0xe0 | code >> 12);
        } else {
            *to++ = (uint8_t)(0xf0 | code >> 18);
            *to++ = (uint8_t)(0x80 | (code >> 12 & 0x3f));
        }
        *to++ = (uint8_t)(0x80 | (code >> 6 & 0x3f));
        *to++ = (uint8_t)(0x80 | (code & 0x3f));
    }
    return to;
}

/* unescape - from after the backslash; a lone half of a surrogate pair becomes U+FFFD. */
static bool unescape(struct json_cursor *c, uint8_t **to)
{
    static const char from[] = "\"\\/bfnrt";
    static const char into[] = "\"\\/\b\f\n\r\t";
    if (c->at == c->end) {
        return json_fail(c, "a string has no end");
    }
    const char *simple = *c->at != '\0' ? strchr(from, *c->at) : NULL;
    if (simple != NULL) {
        *(*to)++ = (uint8_t)into[simple - from];
        c->at++;
        return true;
    }
    int code = *c->at == 'u' && c->end - c->at >= 5 ? hex4(c->at + 1) : -1;
    if (code < 0) {
        return json_fail(c, "a bad escape");
    }
    c->at += 5;
    if (code >= 0xd800 && code < 0xe000) {
        int low = code < 0xdc00 && c->end - c->at >= 6 && c->at[0] == '\\' && c->at[1] == 'u'
                      ? hex4(c->at + 2)
                      : -1;
        if (low >= 0xdc00 && low < 0xe000) {
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            c->at += 6;
        } else {
            code = 0xfffd;
        }
    }
    *to = put_utf8(*to, (uint32_t)code);
    return true;
}

static bool parse_string(struct builder *to, uint32_t field, struct json_cursor *c)
{
    if (c->at == c->end || *c->at != '"') {
        return json_fail(c, "expected a string");
    }
    const char *first = ++c->at;
    bool plain = true; /* ASCII without escapes: copied as it is */
    while (c->at < c->end && *c->at != '"') {
        unsigned char ch = (unsigned char)*c->at;
        if (ch < 0x20) {
            return json_fail(c, "a control character in a string");
        }
        plain = plain && ch < 0x80 && ch != '\\';
        c->at += ch == '\\' && c->end - c->at > 1 ? 2 : 1;
    }
    if (c->at >= c->end) {
        return json_fail(c, "a string has no end");
    }
    const char *last = c->at++;
    uint32_t len = (uint32_t)(last - first);
    if (plain) {
        oxb_put_str(&to->pub, field, to->pub.rows, first, len);
        return true;
    }
    uint8_t *start = oxb_put_space(&to->pub, field, to->pub.rows, len); /* never grows */
    uint8_t *at = start;
    struct json_cursor in = {.at = first, .end = last};
    while (in.at < in.end) {
        if (*in.at != '\\') {
            *at++ = (uint8_t)*in.at++;
            continue;
        }
        in.at++;
        if (!unescape(&in, &at)) {
            c->at = in.at;
            return json_fail(c, in.problem);
        }
    }
    if (!text_is_utf8(start, (size_t)(at - start))) { /* J4 */
        return json_fail(c, "the string is not UTF-8");
    }
    struct oxb_wcol *col = &to->pub.cols[field];
    uint32_t made = (uint32_t)(at - start);
    ((struct oxb_ref *)col->data)[to->pub.rows].len = made;
    col->heap_used -= len - made;
    return true;
}

static int base64_digit(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

static bool parse_bytes(struct builder *to, uint32_t field, struct json_cursor *c)
{
    if (c->at == c->end || *c->at != '"') {
        return json_fail(c, "expected base64 text");
    }
    const char *first = ++c->at;
    while (c->at < c->end && base64_digit(*c->at) >= 0) {
        c->at++;
    }
    size_t digits = (size_t)(c->at - first);
    size_t pad = 0;
    while (c->at < c->end && *c->at == '=' && pad < 2) {
        c->at++;
        pad++;
    }
    if (c->at == c->end || *c->at != '"' || digits % 4 == 1 ||
        (pad > 0 && (digits + pad) % 4 != 0)) {
        return json_fail(c, "bad base64 text");
    }
    c->at++;
    uint32_t len = (uint32_t)(digits / 4 * 3 + (digits % 4 > 0 ? digits % 4 - 1 : 0));
    uint8_t *out = oxb_put_space(&to->pub, field, to->pub.rows, len);
    uint32_t bits = 0;
    unsigned have = 0;
    for (size_t i = 0; i < digits; i++) {
        bits = bits << 6 | (uint32_t)base64_digit(first[i]);
        have += 6;
        if (have >= 8) {
            have -= 8;
            *out++ = (uint8_t)(bits >> have);
        }
    }
    return true;
}

/* ---- times and tensors ---- */

static bool parse_time(struct json_cursor *c, int64_t *out)
{
    if (c->at == c->end || *c->at != '"') {
        return json_integer_value_at(c, out); /* microseconds */
    }
    const char *first = ++c->at;
    while (c->at < c->end && *c->at != '"') {
        c->at++;
    }
    if (c->at == c->end || !text_parse_rfc3339_us(first, (size_t)(c->at - first), out)) {
        return json_fail(c, "expected a time like 2026-11-22T15:04:05.123456Z");
    }
    c->at++;
    return true;
}

/* Nested arrays of the shape, or one flat array: only the number of elements is checked. */
static bool parse_tensor(const struct oxb_field *f, float *to, struct json_cursor *c)
{
    uint32_t count = 0;
    unsigned depth = 0;
    bool after_value = false;
    do {
        json_space(c);
        if (c->at == c->end) {
            return json_fail(c, "an array has no end");
        }
        if (*c->at == '[' && !after_value) {
            depth++;
            c->at++;
        } else if (*c->at == ']' && depth > 0 && after_value) {
            depth--;
            c->at++;
        } else if (*c->at == ',' && depth > 0 && after_value) {
            after_value = false;
            c->at++;
        } else {
            double v = NAN;
            if (after_value || depth == 0) {
                return json_fail(c, "expected an array of numbers");
            }
            if (!word_is(c, "null") && !json_number(c, &v)) {
                return false;
            }
            if (count == f->elements) {
                return json_fail(c, "the array has too many numbers");
            }
            to[count++] = (float)v;
            after_value = true;
        }
        if (depth > DIMS_MAX) {
            return json_fail(c, "an array is nested too deeply");
        }
    } while (depth > 0);
    return count == f->elements || json_fail(c, "the array has too few numbers");
}
