/* core/text.c - small text work shared by parsers: names, units, nearest word, escapes. */
#include "core/text.h"

#include "core/limits.h"
#include "core/strbuf.h"

#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BYTES_MAX 64 /* longer words have no nearest word: bounds the work per hint */

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit durations[] = {
    /* largest first: text_duration takes the first that fits */
    {"h", 3600000000}, {"m", 60000000}, {"s", 1000000}, {"ms", 1000}, {"us", 1},
};
static const struct unit sizes[] = {
    {"", 1},
    {"B", 1},
    {"KiB", 1 << 10},
    {"MiB", 1 << 20},
    {"GiB", 1 << 30},
    {"TiB", (int64_t)1 << 40},
    {"KB", 1000},
    {"MB", 1000000},
    {"GB", 1000000000},
    {"TB", 1000000000000},
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_alpha(char c)
{
    return is_lower(c) || (c >= 'A' && c <= 'Z') || c == '_';
}

bool text_is_name(const char *s)
{
    if (!is_lower(s[0])) {
        return false;
    }
    size_t n = 1;
    for (; s[n] != '\0'; n++) {
        if (!is_lower(s[n]) && !is_digit(s[n]) && s[n] != '-') {
            return false;
        }
    }
    return n <= NAME_BYTES_MAX;
}

bool text_is_field(const char *s)
{
    if (!is_alpha(s[0])) {
        return false;
    }
    size_t n = 1;
    for (; s[n] != '\0'; n++) {
        if (!is_alpha(s[n]) && !is_digit(s[n])) {
            return false;
        }
    }
    return n <= NAME_BYTES_MAX;
}

/* digits - an unsigned decimal number at *s, which moves on.  false: none, or above INT64_MAX + 1.
 */
static bool digits(const char **s, uint64_t *out)
{
    const char *p = *s;
    uint64_t value = 0;
    if (!is_digit(*p)) {
        return false;
    }
    for (; is_digit(*p); p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (value > (((uint64_t)1 << 63) - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *s = p;
    *out = value;
    return true;
}

bool text_parse_i64(const char *s, int64_t *out)
{
    bool negative = *s == '-';
    uint64_t value;
    if (*s == '-' || *s == '+') {
        s++;
    }
    if (!digits(&s, &value) || *s != '\0' || (value > INT64_MAX && !negative)) {
        return false;
    }
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

/* is_decimal - [+-] digits [. digits] [e [+-] digits], with a digit before or after the point. */
static bool is_decimal(const char *s)
{
    bool any = false;
    if (*s == '-' || *s == '+') {
        s++;
    }
    for (; is_digit(*s); s++) {
        any = true;
    }
    if (*s == '.') {
        for (s++; is_digit(*s); s++) {
            any = true;
        }
    }
    if (any && (*s == 'e' || *s == 'E')) {
        s++;
        if (*s == '-' || *s == '+') {
            s++;
        }
        any = is_digit(*s);
        while (is_digit(*s)) {
            s++;
        }
    }
    return any && *s == '\0';
}

bool text_parse_f64(const char *s, double *out)
{
    if (!is_decimal(s)) {
        return false;
    }
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c == (locale_t)0) {
        return false;
    }
    double value = strtod_l(s, NULL, c);
    freelocale(c);
    if (!isfinite(value)) {
        return false;
    }
    *out = value;
    return true;
}

/* with_unit - number, optional fraction, unit.  The result must be a whole number. */
static bool with_unit(const char *s, const struct unit *units, size_t count, int64_t *out)
{
    uint64_t whole, fraction = 0, scale = 1;
    if (!digits(&s, &whole)) {
        return false;
    }
    if (*s == '.') {
        const char *from = ++s;
        if (!digits(&s, &fraction) || s - from > 9) {
            return false;
        }
        for (; from < s; from++) {
            scale *= 10;
        }
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t factor = (uint64_t)units[i].factor;
        if (strcmp(s, units[i].name) != 0) {
            continue;
        }
        uint64_t a, b;
        if (__builtin_mul_overflow(whole, factor, &a) ||
            __builtin_mul_overflow(fraction, factor, &b) || b % scale != 0 ||
            __builtin_add_overflow(a, b / scale, &a) || a > INT64_MAX) {
            return false;
        }
        *out = (int64_t)a;
        return true;
    }
    return false;
}

bool text_parse_duration_us(const char *s, int64_t *out)
{
    return with_unit(s, durations, sizeof durations / sizeof durations[0], out);
}

bool text_parse_size(const char *s, int64_t *out)
{
    return with_unit(s, sizes, sizeof sizes / sizeof sizes[0], out);
}

void text_duration(int64_t us, char *out, size_t bytes)
{
    if (us == 0) {
        snprintf(out, bytes, "0s");
        return;
    }
    for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++) {
        if (us % durations[i].factor == 0) {
            snprintf(out, bytes, "%lld%s", (long long)(us / durations[i].factor),
                     durations[i].name);
            return;
        }
    }
}

/* distance - Levenshtein, where two swapped neighbours count as one change; gives up above `most`.
 */
static size_t distance(const char *a, size_t a_bytes, const char *b, size_t b_bytes, size_t most)
{
    size_t rows[3][WORD_BYTES_MAX + 1]; /* i % 3: of the prefix of `a` that is i long */
    for (size_t j = 0; j <= b_bytes; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= a_bytes; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i - 1) % 3], *before = rows[(i + 1) % 3];
        size_t best = row[0] = i;
        for (size_t j = 1; j <= b_bytes; j++) {
            size_t change = above[j - 1] + (a[i - 1] != b[j - 1]);
            size_t step = (above[j] < row[j - 1] ? above[j] : row[j - 1]) + 1;
            row[j] = change < step ? change : step;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < row[j]) {
                row[j] = before[j - 2] + 1;
            }
            best = row[j] < best ? row[j] : best;
        }
        if (best > most + 1) { /* a swap reaches back over one row */
            return best;
        }
    }
    return rows[a_bytes % 3][b_bytes];
}

const char *text_nearest(const char *word, const char *const *candidates, size_t count)
{
    size_t bytes = strlen(word);
    size_t most = bytes / 3 > 1 ? bytes / 3 : 1;
    const char *nearest = NULL;
    if (bytes == 0 || bytes > WORD_BYTES_MAX) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        size_t other = strlen(candidates[i]);
        if (other > WORD_BYTES_MAX || other + most < bytes || bytes + most < other) {
            continue;
        }
        size_t d = distance(word, bytes, candidates[i], other, most);
        if (d <= most && d < bytes) {
            nearest = candidates[i];
            if (d == 0) {
                break;
            }
            most = d - 1;
        }
    }
    return nearest;
}

/* utf8_length - bytes of the well-formed character at p, or 0. */
static size_t utf8_length(const unsigned char *p, size_t bytes)
{
    unsigned char c = p[0];
    if (c < 0x80) {
        return 1;
    }
    size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || n > bytes) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (c == 0xe0 && p[1] < 0xa0) || (c == 0xf0 && p[1] < 0x90);
    bool surrogate = c == 0xed && p[1] > 0x9f;
    bool beyond = c == 0xf4 && p[1] > 0x8f;
    return overlong || surrogate || beyond ? 0 : n;
}

bool text_is_utf8(const void *data, size_t bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes;) {
        size_t n = utf8_length(p + i, bytes - i);
        if (n == 0) {
            return false;
        }
        i += n;
    }
    return true;
}

static void escape(struct strbuf *out, unsigned char c)
{
    static const char *const shorts[32] = {
        ['\b'] = "\\b", ['\f'] = "\\f", ['\n'] = "\\n", ['\r'] = "\\r", ['\t'] = "\\t",
    };
    if (c == '"' || c == '\\') {
        strbuf_char(out, '\\');
        strbuf_char(out, (char)c);
    } else if (shorts[c] != NULL) {
        strbuf_text_add(out, shorts[c]);
    } else {
        strbuf_printf(out, "\\u%04x", c);
    }
}

void text_json_string(struct strbuf *out, const char *text, size_t bytes)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t from = 0, i = 0;
    strbuf_char(out, '"');
    while (i < bytes) {
        size_t n = utf8_length(p + i, bytes - i);
        if (n > 1 || (n == 1 && p[i] >= 0x20 && p[i] != '"' && p[i] != '\\')) {
            i += n;
            continue;
        }
        strbuf_add(out, text + from, i - from);
        if (n == 0) {
            strbuf_text_add(out, "\xef\xbf\xbd");
        } else {
            escape(out, p[i]);
        }
        from = ++i;
    }
    if (i > from) {
        strbuf_add(out, text + from, i - from);
    }
    strbuf_char(out, '"');
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar, counted in eras of 400 years that
 * start on 1 March, so that the leap day is the last day of a year. */
#define ERA_DAYS 146097
#define EPOCH_DAYS 719468 /* 0000-03-01 to 1970-01-01 */

static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    int64_t y = month > 2 ? year : year - 1;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH_DAYS;
}

static void date_of(int64_t days, int *year, int *month, int *day)
{
    days += EPOCH_DAYS;
    int64_t era = (days >= 0 ? days : days - (ERA_DAYS - 1)) / ERA_DAYS;
    int64_t d = days - era * ERA_DAYS;
    int64_t y = (d - d / 1460 + d / 36524 - d / (ERA_DAYS - 1)) / 365;
    int64_t of_year = d - (365 * y + y / 4 - y / 100);
    int64_t m = (5 * of_year + 2) / 153;
    *day = (int)(of_year - (153 * m + 2) / 5 + 1);
    *month = (int)(m < 10 ? m + 3 : m - 9);
    *year = (int)(y + era * 400 + (*month <= 2));
}

void text_rfc3339_us(int64_t us, char out[28])
{
    const int64_t day_us = 86400000000;
    int64_t low = days_of(0, 1, 1) * day_us, high = days_of(10000, 1, 1) * day_us - 1;
    us = us < low ? low : us > high ? high : us; /* four digits of year are all there are */
    int64_t days = us >= 0 ? us / day_us : -((day_us - 1 - us) / day_us);
    int64_t rest = us - days * day_us;
    int year, month, day;
    date_of(days, &year, &month, &day);
    char *p = out;
    const int parts[] = {year / 100,
                         year % 100,
                         month,
                         day,
                         (int)(rest / 3600000000),
                         (int)(rest / 60000000 % 60),
                         (int)(rest / 1000000 % 60),
                         (int)(rest % 1000000 / 10000),
                         (int)(rest % 10000 / 100),
                         (int)(rest % 100)};
    static const char after[] = "\0--T::.\0\0Z";
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        *p++ = (char)('0' + parts[i] / 10);
        *p++ = (char)('0' + parts[i] % 10);
        if (after[i] != '\0') {
            *p++ = after[i];
        }
    }
    *p = '\0';
}

/* number - exactly `count` digits at *p, then the byte `after` (0: none wanted). */
static bool number(const char **p, const char *end, int count, char after, int64_t *out)
{
    int64_t value = 0;
    for (int i = 0; i < count; i++) {
        if (*p == end || !is_digit(**p)) {
            return false;
        }
        value = value * 10 + (*(*p)++ - '0');
    }
    if (after != '\0') {
        if (*p == end || **p != after) {
            return false;
        }
        (*p)++;
    }
    *out = value;
    return true;
}

static bool is_date(int64_t year, int64_t month, int64_t day)
{
    static const int lengths[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month >= 1 && month <= 12 && day >= 1 && day <= lengths[month - 1] &&
           (month != 2 || day < 29 || leap);
}

/* zone - "Z" or "+hh:mm" up to the end. */
static bool zone(const char *p, const char *end, int64_t *minutes)
{
    int64_t hour, minute;
    if (end - p == 1 && (*p == 'Z' || *p == 'z')) {
        *minutes = 0;
        return true;
    }
    if (end - p != 6 || (*p != '+' && *p != '-')) {
        return false;
    }
    int64_t sign = *p++ == '-' ? -1 : 1;
    if (!number(&p, end, 2, ':', &hour) || !number(&p, end, 2, '\0', &minute) || hour > 23 ||
        minute > 59) {
        return false;
    }
    *minutes = sign * (hour * 60 + minute);
    return true;
}

bool text_parse_rfc3339_us(const char *s, size_t bytes, int64_t *out)
{
    const char *p = s, *end = s + bytes;
    int64_t year, month, day, hour, minute, second, offset, us = 0;
    if (!number(&p, end, 4, '-', &year) || !number(&p, end, 2, '-', &month) ||
        !number(&p, end, 2, '\0', &day) || !is_date(year, month, day)) {
        return false;
    }
    if (p == end || (*p != 'T' && *p != 't' && *p != ' ')) {
        return false;
    }
    p++;
    if (!number(&p, end, 2, ':', &hour) || !number(&p, end, 2, ':', &minute) ||
        !number(&p, end, 2, '\0', &second) || hour > 23 || minute > 59 || second > 60) {
        return false;
    }
    if (p < end && *p == '.') {
        int64_t scale = 100000; /* what lies beyond the microsecond is cut off */
        const char *from = ++p;
        for (; p < end && is_digit(*p); p++, scale /= 10) {
            us += (*p - '0') * scale;
        }
        if (p == from) {
            return false;
        }
    }
    if (!zone(p, end, &offset)) {
        return false;
    }
    int64_t minutes = days_of(year, month, day) * 1440 + hour * 60 + minute - offset;
    *out = (minutes * 60 + second) * 1000000 + us;
    return true;
}
