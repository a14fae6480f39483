/* pe/builtin/csv.h - RFC 4180 records: cut into cells, and cells into typed columns.
 *
 * Invariants: V1 a cell in quotes may hold commas, newlines and doubled quotes; a quote inside a
 *             cell without quotes is itself.
 *             V2 nothing is copied unless a cell holds doubled quotes or is a number. */
#ifndef OXB_PE_BUILTIN_CSV_H
#define OXB_PE_BUILTIN_CSV_H

#include "core/strbuf.h"
#include "pe/pe.h"

#define CSV_COLUMNS_MAX 4096u

struct csv_cell { /* borrowed from the text that was cut */
    const char *text;
    size_t bytes;
    bool has_doubled; /* doubled quotes to undo */
};

struct csv {               /* a zeroed struct is empty and valid */
    uint32_t column_count; /* of the header */
    uint32_t field_count;
    uint32_t *columns;      /* [field_count]: where each field of the schema stands */
    struct csv_cell *cells; /* [CSV_COLUMNS_MAX]: the record cut last */
    uint32_t cell_count;
    bool is_plain; /* set by the caller: the text is known to be ASCII */
    struct strbuf scratch;
    struct strbuf repaired;
};

enum csv_cut { CSV_RECORD, CSV_MORE, CSV_BAD };

void csv_fini(struct csv *c);
/* csv_cut - cut the first record of `text` into c->cells.
 * @is_final: no more text will come.  @taken: bytes of the record with its newline, on CSV_RECORD.
 * Return: CSV_MORE when the record is not complete; CSV_BAD with *why (static) set. */
enum csv_cut csv_cut(struct csv *c, const char *text, size_t bytes, bool is_final, size_t *taken,
                     const char **why);
/* csv_header - match the cells to the schema's fields.  Return: false, the missing field's name in
 * *missing. */
bool csv_header(struct csv *c, const struct oxb_schema *schema, const char **missing);
/* csv_put - write the cells into row `row`.  Return: false, the offending field in *bad and what is
 * wrong in *why (static). */
bool csv_put(struct csv *c, const struct oxb_schema *schema, struct oxb_writer *w, uint32_t row,
             const char **bad, const char **why);

#endif
