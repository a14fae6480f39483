/* tests/support/tallies.h - a PE that counts by key, in two state versions that migrate both ways.
 *
 * `tally1` keeps {count}, `tally2` {twice, count} and fails when the two do not agree; in: a field
 * `key: i64`; out: `key: i64, count: i64`, one for each tuple. */
#ifndef OXB_TESTS_SUPPORT_TALLIES_H
#define OXB_TESTS_SUPPORT_TALLIES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct tallies_told {
    _Atomic bool fails;       /* migrate does, from now on */
    _Atomic uint64_t migrated;
    _Atomic uint64_t started; /* entries that were there at the last start */
};
extern struct tallies_told tallies_told;

int tallies_register(void); /* once per process; 0 */

#endif
