/* pe/builtin/builtin.h - the PE types that come with the engine.
 *
 * Each is a table in a file of its own, written against pe/pe.h like a plug-in's.
 * See:        pe/builtin/table.c for the list that the registry reads. */
#ifndef OXB_PE_BUILTIN_BUILTIN_H
#define OXB_PE_BUILTIN_BUILTIN_H

#include "pe/pe.h"

extern const struct oxb_pe_type builtin_count;
extern const struct oxb_pe_type builtin_delay;
extern const struct oxb_pe_type builtin_file_sink;
extern const struct oxb_pe_type builtin_file_source;
extern const struct oxb_pe_type builtin_filter;
extern const struct oxb_pe_type builtin_infer; /* pe/infer/infer_pe.c */
extern const struct oxb_pe_type builtin_null_sink;
extern const struct oxb_pe_type builtin_sequence;
extern const struct oxb_pe_type builtin_set;
extern const struct oxb_pe_type builtin_stdout_sink;
extern const struct oxb_pe_type builtin_sum;
extern const struct oxb_pe_type builtin_tcp_sink;
extern const struct oxb_pe_type builtin_tcp_source;
extern const struct oxb_pe_type builtin_union;
extern const struct oxb_pe_type builtin_words;

extern const struct oxb_pe_type *const builtin_types[]; /* in order of name; ends with NULL */

#endif
