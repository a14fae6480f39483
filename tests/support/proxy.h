/* tests/support/proxy.h - a TCP proxy that misbehaves: cuts, delays, drips, swallows.
 *
 * Owns:    struct proxy: a listener, its thread, the pairs of connections it forwards between.
 * Threads: any for the calls here; forwarding happens on the proxy's own thread.
 * Use:     proxy_new in front of a peer's address; give proxy_address to the other side. */
#ifndef OXB_TESTS_SUPPORT_PROXY_H
#define OXB_TESTS_SUPPORT_PROXY_H

#include <stdbool.h>
#include <stdint.h>

struct proxy_manners {
    uint32_t cut_bytes_max; /* a pair is cut after 1..this many bytes; 0: never */
    uint32_t piece_max;     /* bytes forwarded at once, 1..; 0: as they come */
    uint32_t stall_1_in;    /* one piece in this many waits for a while; 0: none */
    bool swallow_up, swallow_down; /* what comes is read and thrown away (half-open) */
};

struct proxy;
struct proxy *proxy_new(const char *to, uint64_t seed);
void proxy_free(struct proxy *p);
const char *proxy_address(const struct proxy *p);
/* proxy_behave - from now on; swallowing holds for the pairs that are there, not for new ones. */
void proxy_behave(struct proxy *p, struct proxy_manners m);
void proxy_wait_cuts(struct proxy *p, unsigned count);  /* at least so many; fails after 60 s */
void proxy_wait_pairs(struct proxy *p, unsigned count); /* ever accepted */

#endif
