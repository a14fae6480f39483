/* pe/builtin/keyed.h - what `count` and `sum` share: the parameters `by` and `emit`.
 *
 * Threads:    the instance's. */
#ifndef OXB_PE_BUILTIN_KEYED_H
#define OXB_PE_BUILTIN_KEYED_H

#include "core/limits.h"
#include "pe/pe.h"

struct keyed {
    unsigned by[KEY_FIELDS_MAX]; /* fields of the input; fields 0 .. by_count-1 of the output */
    unsigned by_count;
    bool final; /* emit at the end of the input only */
};

#define KEYED_BY                                                                                   \
    {                                                                                              \
        .name = "by", .type = OXB_P_FIELDS, .flags = OXB_REQUIRED,                                 \
        .doc = "the field, or the list of fields, to group by"                                     \
    }
#define KEYED_EMIT                                                                                 \
    {                                                                                              \
        .name = "emit", .type = OXB_P_ENUM, .fallback = "each", .choices = "each final",           \
        .doc = "each: a result for every tuple; final: one per group when the input ends"          \
    }

static inline int keyed_bind(struct oxb_pe *pe, struct keyed *k, const struct oxb_schema *schema)
{
    const char *names[KEY_FIELDS_MAX];
    unsigned count = oxb_param_fields(pe, "by", names, KEY_FIELDS_MAX);
    if (count == 0 || count > KEY_FIELDS_MAX) {
        return oxb_fail(pe, "`by` names %u fields; name 1 to %d", count, KEY_FIELDS_MAX);
    }
    for (unsigned i = 0; i < count; i++) {
        int field = oxb_field(schema, names[i]);
        if (field < 0) {
            return oxb_fail(pe, "the input has no field `%s`; it has: %s", names[i], schema->text);
        }
        if (schema->fields[field].type == OXB_F32) {
            return oxb_fail(pe,
                            "field `%s` is a tensor and cannot be grouped by; the input has: %s",
                            names[i], schema->text);
        }
        k->by[i] = (unsigned)field;
    }
    k->by_count = count;
    k->final = strcmp(oxb_param_str(pe, "emit"), "final") == 0;
    return OXB_OK;
}

#endif
