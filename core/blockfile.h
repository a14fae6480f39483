/* core/blockfile.h - a file of compressed blocks in which every torn or flipped byte is found.
 *
 * Format:     little-endian.  "OXBBLK" 0x01 0x00, then blocks: u32 kind, u32 tag, u32 raw bytes,
 *             u32 stored bytes, u64 XXH3-64 of these 16 bytes, u64 XXH3-64 of what is stored, and
 *             that: one zstd frame.  The last block is of kind BLOCK_END, raw: u64 number of blocks
 *             before it, u64 XXH3-64 of every byte of the file before that block.
 * Threads:    any; one at a time per struct.
 * Invariants: B1 nothing is allocated for a length that was not checked by its checksum.
 *             B2 a file without its end block, or with anything behind it, is not a file.
 *             B3 both sides stream: memory is bounded by the largest block. */
#ifndef OXB_CORE_BLOCKFILE_H
#define OXB_CORE_BLOCKFILE_H

#include "core/err.h"
#include "core/strbuf.h"

#include <stdint.h>

#define BLOCK_END 0u /* kinds of the user's begin at 1 */

/* blockfile_put - takes the next bytes of the file. */
typedef enum err blockfile_put(void *arg, const void *data, size_t bytes, struct fail *f);
/* blockfile_get - fills exactly `bytes`; ERR_CORRUPT when fewer are left. */
typedef enum err blockfile_get(void *arg, void *to, size_t bytes, struct fail *f);

struct blockfile_writer;
struct blockfile_writer *blockfile_begin(blockfile_put *put, void *arg);
MUST_CHECK enum err blockfile_add(struct blockfile_writer *w, uint32_t kind, uint32_t tag,
                                  const void *data, size_t bytes, struct fail *f);
/* blockfile_end - writes the end block.  @stored: bytes of the whole file. */
MUST_CHECK enum err blockfile_end(struct blockfile_writer *w, uint64_t *stored, struct fail *f);
void blockfile_writer_free(struct blockfile_writer *w); /* accepts NULL */

struct block {
    uint32_t kind, tag;
    const char *data; /* borrowed until the next call */
    size_t bytes;
};
struct packed_block { /* as it is stored; its checksums were right */
    uint32_t kind, tag;
    const char *data; /* borrowed until the next call */
    size_t bytes, raw_bytes;
};
struct blockfile_reader;
struct blockfile_reader *blockfile_open(blockfile_get *get, void *arg);
/* blockfile_next - the next block; of kind BLOCK_END when everything was read and is whole.
 * ERR_CORRUPT: do not use anything read from this file; other errors are those of `get`. */
MUST_CHECK enum err blockfile_next(struct blockfile_reader *r, struct block *out, struct fail *f);
/* blockfile_next_packed - the same without unpacking it, which block_unpack does, anywhere. */
MUST_CHECK enum err blockfile_next_packed(struct blockfile_reader *r, struct packed_block *out,
                                          struct fail *f);
void blockfile_reader_free(struct blockfile_reader *r); /* accepts NULL */

struct unpacker;
struct unpacker *unpacker_new(void);
void unpacker_free(struct unpacker *u); /* accepts NULL */
/* block_unpack - @out: borrowed from `u` until its next call. */
MUST_CHECK enum err block_unpack(struct unpacker *u, const struct packed_block *in,
                                 struct block *out, struct fail *f);

#endif
