/* core/err.h - the one error type, and diagnostics that carry text to a person. */
#ifndef OXB_CORE_ERR_H
#define OXB_CORE_ERR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define TAKES /* marks a parameter whose ownership passes to the callee, also on failure */

enum err {
    ERR_OK = 0,
#define X(name, text, kind) ERR_##name,
#include "core/err.def"
#undef X
    ERR_COUNT
};

enum err_kind { ERR_KIND_NONE, ERR_KIND_RETRY, ERR_KIND_REFUSE, ERR_KIND_FATAL };

const char *err_name(enum err e); /* "FULL"; static */
const char *err_text(enum err e); /* "bounded queue is full"; static */
enum err_kind err_kind(enum err e);

/* One problem, as a person reads it: `what; hint`.  Owned by the caller; plain data. */
struct fail {
    enum err code;
    char what[512]; /* one line, UTF-8, ends with NUL, no newline */
    char hint[256]; /* what to do about it; may be empty */
};

/* fail_set - fill `f` (may be NULL) and return `code`, so that callers write
 * `return fail_set(f, ERR_INVALID, "use 1..1024", "parallelism is %d", n);` */
enum err fail_set(struct fail *f, enum err code, const char *hint, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

#endif
