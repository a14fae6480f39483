/* pe/builtin/table.c - the list of built-in PE types, in order of name.
 *
 * See:        pe/registry.h, which finds types by name in it. */
#include "pe/builtin/builtin.h"

const struct oxb_pe_type *const builtin_types[] = {
    &builtin_count,       /* count */
    &builtin_delay,       /* delay */
    &builtin_file_sink,   /* file-sink */
    &builtin_file_source, /* file-source */
    &builtin_filter,      /* filter */
    &builtin_infer,       /* infer */
    &builtin_null_sink,   /* null-sink */
    &builtin_sequence,    /* sequence */
    &builtin_set,         /* set */
    &builtin_stdout_sink, /* stdout-sink */
    &builtin_sum,         /* sum */
    &builtin_tcp_sink,    /* tcp-sink */
    &builtin_tcp_source,  /* tcp-source */
    &builtin_union,       /* union */
    &builtin_words,       /* words */
    NULL,
};
