/* pe/schema.h - what an interned schema knows beside its public part. */
#ifndef OXB_PE_SCHEMA_H
#define OXB_PE_SCHEMA_H

#include "pe/pe.h"

struct schema {
    struct oxb_schema pub;  /* first */
    uint32_t row_bytes;     /* values of one row, heaps apart */
    uint32_t heap_count;    /* fields with a heap */
    uint32_t *name_bytes;   /* [field_count] strlen of each name */
    char **json_keys;       /* [field_count] `"name":` */
    struct schema *next;    /* in the registry's bucket */
};

static inline const struct schema *schema_of(const struct oxb_schema *s)
{
    return (const struct schema *)s;
}

#endif
