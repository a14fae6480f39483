/* tests/sim/order.h - numbers that say where a tuple stands among those of its source.
 *
 * What:       a source numbers its tuples; what a PE makes of one stands in its parent's place, the
 *             first child before the second.  The place is a binary fraction, so that the children
 *             of different parents compare rightly also when one has come through more PEs than
 *             the other, as the old and the new way of a change do.
 * Layout:     position 16 bits | fraction 12 bits | generation 4 bits. */
#ifndef OXB_TESTS_SIM_ORDER_H
#define OXB_TESTS_SIM_ORDER_H

#include <assert.h>
#include <stdint.h>

enum { ORDER_GENERATIONS = 12 };

static inline uint32_t order_of_source(uint32_t position) /* from 1 */
{
    assert(position <= UINT16_MAX);
    return position << 16;
}

static inline uint32_t order_of_child(uint32_t parent, uint32_t k) /* 0: the first, 1 */
{
    uint32_t generation = (parent & 0xf) + 1;
    assert(generation <= ORDER_GENERATIONS);
    return ((parent & ~0xfu) | k << (16 - generation)) + generation;
}

static inline uint32_t order_hash(uint32_t order) /* any part of it changes the upper bits */
{
    return (order * 2654435761u) >> 16;
}

#endif
