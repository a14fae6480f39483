/* core/err.c - names and texts of error codes, from err.def. */
#include "core/err.h"

#include <stdio.h>

static const char *const names[ERR_COUNT] = {
    [ERR_OK] = "OK",
#define X(name, text, kind) [ERR_##name] = #name,
#include "core/err.def"
#undef X
};

static const char *const texts[ERR_COUNT] = {
    [ERR_OK] = "no error",
#define X(name, text, kind) [ERR_##name] = text,
#include "core/err.def"
#undef X
};

static const enum err_kind kinds[ERR_COUNT] = {
    [ERR_OK] = ERR_KIND_NONE,
#define X(name, text, kind) [ERR_##name] = ERR_KIND_##kind,
#include "core/err.def"
#undef X
};

const char *err_name(enum err e)
{
    return (unsigned)e < ERR_COUNT ? names[e] : "UNKNOWN";
}

const char *err_text(enum err e)
{
    return (unsigned)e < ERR_COUNT ? texts[e] : "unknown error";
}

enum err_kind err_kind(enum err e)
{
    return (unsigned)e < ERR_COUNT ? kinds[e] : ERR_KIND_FATAL;
}

enum err fail_set(struct fail *f, enum err code, const char *hint, const char *fmt, ...)
{
    if (f != NULL) {
        va_list ap;
        va_start(ap, fmt);
        f->code = code;
        vsnprintf(f->what, sizeof f->what, fmt, ap);
        va_end(ap);
        snprintf(f->hint, sizeof f->hint, "%s", hint != NULL ? hint : "");
        for (char *p = f->what; *p != '\0'; p++) {
            if (*p == '\n' || *p == '\r') {
                *p = ' ';
            }
        }
    }
    return code;
}
