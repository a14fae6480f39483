/* core/text.h - small text work shared by parsers: names, units, nearest word, escapes. */
#ifndef OXB_CORE_TEXT_H
#define OXB_CORE_TEXT_H

#include "core/err.h"

#include <stdbool.h>
#include <stdint.h>

struct strbuf;

bool text_is_name(const char *s);   /* [a-z][a-z0-9-]*, 1..NAME_BYTES_MAX */
bool text_is_field(const char *s);  /* [A-Za-z_][A-Za-z0-9_]*, 1..NAME_BYTES_MAX */
/* text_parse_* - the whole of `s` must match.  Return: false when it does not. */
bool text_parse_i64(const char *s, int64_t *out);           /* decimal, optional sign */
bool text_parse_f64(const char *s, double *out);            /* finite; locale-free */
bool text_parse_duration_us(const char *s, int64_t *out);   /* 10us 10ms 5s 2m 1h; >= 0 */
bool text_parse_size(const char *s, int64_t *out);          /* 512 64KiB 1MiB 2GiB 1KB=1000 */
void text_duration(int64_t us, char *out, size_t bytes);    /* "10ms", shortest exact form */
/* text_nearest - the candidate closest to `word` (Levenshtein distance, a swap of neighbours being
 * one, at most a third of its length, at least 1); NULL when none is close. */
const char *text_nearest(const char *word, const char *const *candidates, size_t count);
bool text_is_utf8(const void *p, size_t bytes);
void text_json_string(struct strbuf *out, const char *p, size_t bytes); /* quoted and escaped; bad
                                                                          * UTF-8 becomes U+FFFD */
/* text_rfc3339_us - "2026-11-22T15:04:05.123456Z" and back. */
void text_rfc3339_us(int64_t us, char out[28]);
bool text_parse_rfc3339_us(const char *s, size_t bytes, int64_t *out);

#endif
