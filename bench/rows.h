/* bench/rows.h - the tuples that every measurement makes: five fields, 41 bytes.
 *
 * Floors and engine build the same row number i from the same formulas, so their checksums can be
 * compared.  The formulas are cheap and vectorise: a source should not be what is measured. */
#ifndef OXB_BENCH_ROWS_H
#define OXB_BENCH_ROWS_H

#include <stdint.h>

#define ROW_KEYS 1024u
#define ROW_TEXT_BYTES 16u
#define ROW_TEXTS 16u
#define ROW_WIRE_BYTES 49u /* by column in the engine: 3 x 8, ref 8, text 16, bool 1 */

struct row { /* as a C programmer would lay it out: 48 bytes */
    int64_t k;
    int64_t v;
    double x;
    char s[ROW_TEXT_BYTES];
    uint8_t b;
};

static const char row_texts[ROW_TEXTS][ROW_TEXT_BYTES + 1] = {
    "anchorage-harbor", "backwater-canals", "causeway-station", "drawbridge-lower",
    "estuary-lookouts", "floodplain-north", "gravelbank-upper", "headwater-spring",
    "inlet-lighthouse", "junction-of-arms", "kayak-landing-01", "levee-inspection",
    "meander-cutoff-2", "navigation-lock-", "oxbow-lake-shore", "portage-trail-04",
};

static inline int64_t row_key(uint64_t i)
{
    return (int64_t)(((uint32_t)i * 2654435761u) >> 22); /* 1024 keys */
}
static inline int64_t row_value(uint64_t i)
{
    return (int64_t)i;
}
static inline double row_real(uint64_t i)
{
    return (double)(uint32_t)i * 0.25;
}
static inline int64_t row_map(int64_t v) /* what the map does */
{
    return v * 3 + 1;
}
static inline int row_keep(int64_t mapped) /* what the filter keeps: 7 of 8 */
{
    return (mapped & 7) != 0;
}

#endif
