/* pe/json.h - the pieces that pe/json_out.c and pe/json_in.c share. */
#ifndef OXB_PE_JSON_H
#define OXB_PE_JSON_H

#include "core/limits.h"

#include <stdbool.h>
#include <stdint.h>

struct json_cursor { /* where the reader is; never moves past `end` */
    const char *at;
    const char *end;
    const char *problem; /* what was wrong at `at`; static text, or NULL */
};

/* json_put_f64 - the shortest form that reads back; at most 32 bytes.  Return: the end. */
char *json_put_f64(char *to, double v);
/* json_number - a JSON number as an f64.  Return: false, with `problem` set. */
bool json_number(struct json_cursor *c, double *out);
bool json_integer_value_at(struct json_cursor *c, int64_t *out);
/* json_skip_value - past one value of any kind, nested at most 32 deep. */
bool json_skip_value(struct json_cursor *c);
bool json_fail(struct json_cursor *c, const char *problem); /* always false */

static inline void json_space(struct json_cursor *c)
{
    while (c->at < c->end &&
           (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r')) {
        c->at++;
    }
}

#endif
