/* pe/json_scan.c - the scanner below row_parse_json: blanks, numbers, values to be skipped.
 *
 * Threads:    any; pure.
 * Invariants: K1 the cursor never passes its end.  K2 no recursion: depth is counted.
 * See:        pe/json_in.c */
#include "pe/json.h"

#include "core/mem.h"
#include "core/text.h"

#include <string.h>

#define SKIP_DEPTH_MAX 32
#define NUMBER_BYTES_MAX 400 /* longer ones are no number anybody means */

static bool skip_string(struct json_cursor *c);
static bool skip_word(struct json_cursor *c);

bool json_fail(struct json_cursor *c, const char *problem)
{
    if (c->problem == NULL) {
        c->problem = problem;
    }
    return false;
}

static inline bool is_digit(const struct json_cursor *c)
{
    return c->at < c->end && *c->at >= '0' && *c->at <= '9';
}

bool json_integer_value_at(struct json_cursor *c, int64_t *out)
{
    bool negative = c->at < c->end && *c->at == '-';
    c->at += negative ? 1 : 0;
    if (!is_digit(c)) {
        return json_fail(c, "expected an integer");
    }
    const char *first = c->at;
    uint64_t v = 0;
    while (is_digit(c)) {
        unsigned digit = (unsigned)(*c->at - '0');
        if (v > (UINT64_MAX - digit) / 10) {
            return json_fail(c, "the integer does not fit 64 bits");
        }
        v = v * 10 + digit;
        c->at++;
    }
    if (*first == '0' && c->at - first > 1) {
        return json_fail(c, "a number may not start with 0");
    }
    if (c->at < c->end && (*c->at == '.' || *c->at == 'e' || *c->at == 'E')) {
        return json_fail(c, "expected an integer, not a fraction");
    }
    if (v > (uint64_t)INT64_MAX + (negative ? 1 : 0)) {
        return json_fail(c, "the integer does not fit 64 bits");
    }
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* A number of at most 15 digits with an exponent of at most 22 is one exact multiplication or
 * division (Clinger, "How to read floating point numbers accurately", PLDI 1990, the fast path);
 * all others go through the library. */
bool json_number(struct json_cursor *c, double *out)
{
    static const double pow10[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                   1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const char *first = c->at;
    bool negative = c->at < c->end && *c->at == '-';
    c->at += negative ? 1 : 0;
    uint64_t m = 0;
    int digits = 0;
    int exponent = 0;
    if (!is_digit(c)) {
        return json_fail(c, "expected a number");
    }
    const char *whole = c->at;
    for (; is_digit(c); c->at++, digits += m != 0 ? 1 : 0) {
        m = digits < 18 ? m * 10 + (unsigned)(*c->at - '0') : m;
    }
    if (*whole == '0' && c->at - whole > 1) {
        return json_fail(c, "a number may not start with 0");
    }
    if (c->at < c->end && *c->at == '.') {
        c->at++;
        if (!is_digit(c)) {
            return json_fail(c, "expected digits after the point");
        }
        for (; is_digit(c); c->at++, digits += m != 0 ? 1 : 0, exponent--) {
            m = digits < 18 ? m * 10 + (unsigned)(*c->at - '0') : m;
        }
    }
    if (c->at < c->end && (*c->at == 'e' || *c->at == 'E')) {
        c->at++;
        bool minus = c->at < c->end && *c->at == '-';
        c->at += c->at < c->end && (*c->at == '-' || *c->at == '+') ? 1 : 0;
        if (!is_digit(c)) {
            return json_fail(c, "expected digits in the exponent");
        }
        int e = 0;
        for (; is_digit(c); c->at++) {
            e = e < 10000 ? e * 10 + (*c->at - '0') : e;
        }
        exponent += minus ? -e : e;
    }
    if (digits <= 15 && exponent >= -22 && exponent <= 22) {
        double v = exponent < 0 ? (double)m / pow10[-exponent] : (double)m * pow10[exponent];
        *out = negative ? -v : v;
        return true;
    }
    char text[NUMBER_BYTES_MAX + 1];
    size_t bytes = (size_t)(c->at - first);
    if (bytes > NUMBER_BYTES_MAX) {
        return json_fail(c, "the number is too long");
    }
    memcpy(text, first, bytes);
    text[bytes] = '\0';
    return text_parse_f64(text, out) || json_fail(c, "the number is out of range");
}

bool json_skip_value(struct json_cursor *c)
{
    int depth = 0; /* K2 */
    do {
        json_space(c);
        if (c->at == c->end) {
            return json_fail(c, "the text ends inside a value");
        }
        char ch = *c->at;
        if (ch == '{' || ch == '[') {
            c->at++;
            if (++depth > SKIP_DEPTH_MAX) {
                return json_fail(c, "a value is nested too deeply");
            }
            continue;
        }
        if (depth > 0 && (ch == '}' || ch == ']')) {
            c->at++;
            depth--;
        } else if (depth > 0 && (ch == ',' || ch == ':')) {
            c->at++;
        } else if (ch == '"' ? !skip_string(c) : !skip_word(c)) {
            return false;
        }
    } while (depth > 0);
    return true;
}

static bool skip_string(struct json_cursor *c)
{
    c->at++;
    while (c->at < c->end && *c->at != '"') {
        c->at += *c->at == '\\' && c->end - c->at > 1 ? 2 : 1;
    }
    if (c->at == c->end) {
        return json_fail(c, "a string has no end");
    }
    c->at++;
    return true;
}

static bool skip_word(struct json_cursor *c)
{
    const char *first = c->at;
    while (c->at < c->end && strchr("{}[]:,\" \t\r\n", *c->at) == NULL) {
        c->at++;
    }
    return c->at > first || json_fail(c, "expected a value");
}
