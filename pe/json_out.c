/* pe/json_out.c - rows as text: one JSON object, or tab-separated fields.
 *
 * Threads:    any; pure.
 * Invariants: J1 what batch_json_row writes, row_parse_json reads back to equal values.
 *             J2 the output is one line of valid UTF-8, whatever the strings hold.
 * Why:        written by hand, for this is the data plane: about 30 M tuples/s were measured for
 *             such a writer where a DOM library makes an object per cell.  f64 take the shortest
 *             form that reads back; those with few decimals, the usual case, need no printf.
 *             NaN and the infinities are no JSON and become null (read back as NaN).
 * See:        pe/json_in.c, tests/unit/pe/json_test.c */
#include "pe/json.h"

#include "core/mem.h"
#include "core/strbuf.h"
#include "core/text.h"
#include "pe/batch.h"
#include "pe/schema.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define NUMBER_BYTES_MAX 32u

static void put_cell(const struct oxb_batch *b, uint32_t field, uint32_t row, bool tsv,
                     struct strbuf *out);
static void put_json_string(struct strbuf *out, const uint8_t *p, uint32_t len);
static void put_tsv_string(struct strbuf *out, const uint8_t *p, uint32_t len);
static void put_tensor(const struct oxb_field *f, const float *v, struct strbuf *out);
static void put_base64(struct strbuf *out, const uint8_t *p, uint32_t len);
static char *room(struct strbuf *out, size_t bytes);
static void used(struct strbuf *out, const char *end);

void batch_json_row(const struct oxb_batch *b, uint32_t row, struct strbuf *out)
{
    const struct schema *s = schema_of(b->schema);
    strbuf_char(out, '{');
    for (uint32_t i = 0; i < s->pub.field_count; i++) {
        size_t key_bytes = s->name_bytes[i] + 3;
        char *p = room(out, key_bytes + 1);
        if (i > 0) {
            *p++ = ',';
        }
        memcpy(p, s->json_keys[i], key_bytes);
        used(out, p + key_bytes);
        put_cell(b, i, row, false, out);
    }
    strbuf_char(out, '}');
}

void batch_tsv_row(const struct oxb_batch *b, uint32_t row, struct strbuf *out)
{
    for (uint32_t i = 0; i < b->schema->field_count; i++) {
        if (i > 0) {
            strbuf_char(out, '\t');
        }
        put_cell(b, i, row, true, out);
    }
}

static char *put_i64(char *p, int64_t v)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";
    char digits[24];
    unsigned at = sizeof digits;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    while (u >= 100) {
        at -= 2;
        memcpy(digits + at, pairs + u % 100 * 2, 2);
        u /= 100;
    }
    if (u >= 10) {
        at -= 2;
        memcpy(digits + at, pairs + u * 2, 2);
    } else {
        digits[--at] = (char)('0' + u);
    }
    if (v < 0) {
        *p++ = '-';
    }
    memcpy(p, digits + at, sizeof digits - at);
    return p + (sizeof digits - at);
}

/* A number that is m / 10^k for k <= 6 and m < 2^53: both are exact, so the division is the
 * correctly rounded value of the decimal, and the smallest such k gives the shortest text. */
static char *put_decimal(char *p, double v)
{
    static const double pow10[] = {1, 10, 1e2, 1e3, 1e4, 1e5, 1e6};
    double a = fabs(v);
    if (a >= 1e9 || (a != 0 && a < 1e-4)) {
        return NULL;
    }
    for (unsigned k = 0; k <= 6; k++) {
        double m = nearbyint(a * pow10[k]);
        if (m / pow10[k] == a) {
            if (signbit(v)) {
                *p++ = '-';
            }
            uint64_t whole = (uint64_t)m;
            uint64_t unit = (uint64_t)pow10[k];
            p = put_i64(p, (int64_t)(whole / unit));
            *p++ = '.';
            uint64_t rest = whole % unit;
            for (uint64_t d = unit / 10; d > 0; d /= 10) {
                *p++ = (char)('0' + rest / d % 10);
            }
            if (k == 0) {
                *p++ = '0';
            }
            return p;
        }
    }
    return NULL;
}

char *json_put_f64(char *p, double v)
{
    if (!isfinite(v)) {
        memcpy(p, "null", 4);
        return p + 4;
    }
    char *end = put_decimal(p, v);
    if (end != NULL) {
        return end;
    }
    int n = 0;
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(p, NUMBER_BYTES_MAX, "%.*g", digits, v);
        if (digits == 17 || strtod(p, NULL) == v) {
            break;
        }
    }
    bool is_whole = true;
    for (int i = 0; i < n; i++) {
        bool digit = (p[i] >= '0' && p[i] <= '9') || p[i] == '-' || p[i] == '+';
        if (!digit && p[i] != 'e') {
            p[i] = '.'; /* whatever the locale puts there */
        }
        is_whole = is_whole && digit;
    }
    if (is_whole) { /* keep it a number with a point, so that it stays an f64 */
        memcpy(p + n, ".0", 2);
        n += 2;
    }
    return p + n;
}

static void put_cell(const struct oxb_batch *b, uint32_t field, uint32_t row, bool tsv,
                     struct strbuf *out)
{
    const struct oxb_field *f = &b->schema->fields[field];
    const struct oxb_col *c = &b->cols[field];
    char *p = room(out, NUMBER_BYTES_MAX + 2);
    switch (f->type) {
    case OXB_I64:
        used(out, put_i64(p, ((const int64_t *)c->data)[row]));
        break;
    case OXB_F64:
        used(out, json_put_f64(p, ((const double *)c->data)[row]));
        break;
    case OXB_BOOL: {
        bool v = ((const uint8_t *)c->data)[row] != 0;
        memcpy(p, v ? "true" : "false", v ? 4 : 5);
        used(out, p + (v ? 4 : 5));
        break;
    }
    case OXB_TIME: {
        char text[28];
        text_rfc3339_us(((const int64_t *)c->data)[row], text);
        size_t n = strlen(text);
        if (!tsv) {
            *p++ = '"';
        }
        memcpy(p, text, n);
        p += n;
        if (!tsv) {
            *p++ = '"';
        }
        used(out, p);
        break;
    }
    case OXB_STR:
    case OXB_BYTES: {
        struct oxb_ref r = ((const struct oxb_ref *)c->data)[row];
        const uint8_t *text = c->heap + r.off;
        if (f->type == OXB_BYTES) {
            used(out, tsv ? p : (*p = '"', p + 1));
            put_base64(out, text, r.len);
            strbuf_add(out, "\"", tsv ? 0 : 1);
        } else if (tsv) {
            put_tsv_string(out, text, r.len);
        } else {
            put_json_string(out, text, r.len);
        }
        break;
    }
    case OXB_F32:
        put_tensor(f, (const float *)c->data + (size_t)row * f->elements, out);
        break;
    case OXB_NONE:
        break;
    }
}

static void put_json_string(struct strbuf *out, const uint8_t *p, uint32_t len)
{
    uint32_t plain = 0; /* bytes that need no escape and no check */
    while (plain < len && p[plain] >= 0x20 && p[plain] < 0x7f && p[plain] != '"' &&
           p[plain] != '\\') {
        plain++;
    }
    if (plain < len) {
        text_json_string(out, (const char *)p, len); /* J2 */
        return;
    }
    char *to = room(out, (size_t)len + 2);
    *to++ = '"';
    if (len > 0) {
        memcpy(to, p, len);
    }
    to[len] = '"';
    used(out, to + len + 1);
}

static void put_tsv_string(struct strbuf *out, const uint8_t *p, uint32_t len)
{
    if (!text_is_utf8(p, len)) { /* J2: take the repaired form, without its quotes */
        struct strbuf quoted = {0};
        text_json_string(&quoted, (const char *)p, len);
        strbuf_add(out, quoted.data + 1, quoted.bytes - 2);
        strbuf_fini(&quoted);
        return;
    }
    char *to = room(out, (size_t)len * 2);
    for (uint32_t i = 0; i < len; i++) {
        char c = (char)p[i];
        char escaped = c == '\t' ? 't' : c == '\n' ? 'n' : c == '\r' ? 'r' : c == '\\' ? '\\' : 0;
        if (escaped != 0) {
            *to++ = '\\';
            c = escaped;
        }
        *to++ = c;
    }
    used(out, to);
}

static char *put_f32(char *p, float v)
{
    if (!isfinite(v)) {
        memcpy(p, "null", 4);
        return p + 4;
    }
    int n = 0;
    for (int digits = 6; digits <= 9; digits++) {
        n = snprintf(p, NUMBER_BYTES_MAX, "%.*g", digits, (double)v);
        if (digits == 9 || strtof(p, NULL) == v) {
            break;
        }
    }
    for (int i = 0; i < n; i++) {
        bool digit = (p[i] >= '0' && p[i] <= '9') || p[i] == '-' || p[i] == '+' || p[i] == 'e';
        p[i] = digit ? p[i] : '.';
    }
    return p + n;
}

static void put_tensor(const struct oxb_field *f, const float *v, struct strbuf *out)
{
    for (uint32_t e = 0; e < f->elements; e++) {
        char *p = room(out, NUMBER_BYTES_MAX + 2 * DIMS_MAX + 2);
        if (e > 0) {
            *p++ = ',';
        }
        uint32_t block = 1; /* elements below dimension d, from the innermost outwards */
        for (uint32_t d = f->dim_count; d-- > 0;) {
            block *= f->dims[d];
            if (e % block != 0) {
                break;
            }
            *p++ = '[';
        }
        p = put_f32(p, v[e]);
        block = 1;
        for (uint32_t d = f->dim_count; d-- > 0;) {
            block *= f->dims[d];
            if ((e + 1) % block != 0) {
                break;
            }
            *p++ = ']';
        }
        used(out, p);
    }
}

static void put_base64(struct strbuf *out, const uint8_t *p, uint32_t len)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *to = room(out, ((size_t)len + 2) / 3 * 4);
    for (uint32_t i = 0; i < len; i += 3) {
        uint32_t left = len - i;
        uint32_t v = (uint32_t)p[i] << 16;
        v |= left > 1 ? (uint32_t)p[i + 1] << 8 : 0;
        v |= left > 2 ? (uint32_t)p[i + 2] : 0;
        *to++ = digits[v >> 18];
        *to++ = digits[v >> 12 & 63];
        *to++ = left > 1 ? digits[v >> 6 & 63] : '=';
        *to++ = left > 2 ? digits[v & 63] : '=';
    }
    used(out, to);
}

/* room - space for `bytes` at the end of `out`; `used` then says how far it was filled. */
static char *room(struct strbuf *out, size_t bytes)
{
    size_t need = out->bytes + bytes + 1;
    if (need > out->capacity) {
        size_t capacity = out->capacity != 0 ? out->capacity : 256;
        while (capacity < need) {
            capacity *= 2;
        }
        out->data = mem_resize(out->data, capacity, 1);
        out->capacity = capacity;
    }
    return out->data + out->bytes;
}

static void used(struct strbuf *out, const char *end)
{
    out->bytes = (size_t)(end - out->data);
    out->data[out->bytes] = '\0';
}
