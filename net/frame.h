/* net/frame.h - the eight bytes before every body, on control connections and peer links alike.
 *
 * Little-endian: u32 body bytes, u16 kind, u8 version (1), u8 magic 0x4F.
 * Threads: any; pure. */
#ifndef OXB_NET_FRAME_H
#define OXB_NET_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEAD_BYTES 8u
#define FRAME_VERSION 1u
#define FRAME_MAGIC 0x4Fu

static inline void frame_head_write(uint32_t body_bytes, uint16_t kind, uint8_t head[8])
{
    head[0] = (uint8_t)body_bytes;
    head[1] = (uint8_t)(body_bytes >> 8);
    head[2] = (uint8_t)(body_bytes >> 16);
    head[3] = (uint8_t)(body_bytes >> 24);
    head[4] = (uint8_t)kind;
    head[5] = (uint8_t)(kind >> 8);
    head[6] = FRAME_VERSION;
    head[7] = FRAME_MAGIC;
}

/* frame_head_read - Return: false when these are not the first bytes of a frame. */
static inline bool frame_head_read(const uint8_t head[8], uint32_t *body_bytes, uint16_t *kind)
{
    *body_bytes = (uint32_t)head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 |
                  (uint32_t)head[3] << 24;
    *kind = (uint16_t)(head[4] | head[5] << 8);
    return head[6] == FRAME_VERSION && head[7] == FRAME_MAGIC;
}

#endif
