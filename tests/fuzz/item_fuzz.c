/* tests/fuzz/item_fuzz.c - hostile bytes as the items of a peer link.
 *
 * Goal:   a reader of items never reads outside what it was given, and whatever it accepts goes
 *         through the ledger, can be read, and encodes to an item that is accepted again.
 * Method: libFuzzer; the input is a run of items, each u16 length and body.  Half of the inputs are
 *         sealed with a good check sum and schema, or no mutation would get past them. */
#include "core/hash.h"
#include "core/limits.h"
#include "core/log.h"
#include "pe/batch.h"
#include "worker/channel.h"
#include "worker/frame.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SCHEMA "a: i64, b: str, c: bool, d: f32[2]"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static void mend(uint8_t *body, size_t bytes, const struct oxb_schema *s)
{
    struct item_head head;
    if (bytes >= sizeof head + batch_wire_head_bytes(s)) {
        uint8_t *batch = body + sizeof head;
        uint32_t rows = 1 + body[16] % 4u;
        memcpy(batch, &rows, sizeof rows);
        memcpy(batch + 4, &s->field_count, 4);
        memcpy(batch + 8, &s->id, 8);
        for (uint32_t i = 0; i < s->field_count; i++) {
            uint32_t value_bytes = type_width(&s->fields[i]) * rows;
            memcpy(batch + 24 + (size_t)8 * i, &value_bytes, 4);
        }
        memcpy(&head, body, sizeof head);
        head.item = ITEM_BATCH;
        head.count = rows;
        memcpy(body, &head, sizeof head);
    }
    if (bytes >= sizeof head) {
        uint64_t check = hash_bytes(body + 8, bytes - 8);
        memcpy(body, &check, sizeof check);
    }
}

static void again(struct channel *c, const struct item_head *head, struct batch *b)
{
    struct item it = {.kind = ITEM_BATCH, .count = b->pub.live, .first = head->first, .batch = b};
    struct frame *f = frame_new(c->id, head->number, &it); /* takes the batch */
    uint8_t *flat = malloc(f->bytes);
    size_t at = 0;
    for (int k = 0; flat != NULL && k < f->piece_count; k++) {
        memcpy(flat + at, f->pieces[k].iov_base, f->pieces[k].iov_len);
        at += f->pieces[k].iov_len;
    }
    struct item_head out;
    assert(at == f->bytes && frame_check_item(flat + 8, at - 8, &out) == ERR_OK);
    assert(out.count == head->count && out.first == head->first);
    free(flat);
    frame_free(f);
}

static void one_item(struct pool *p, struct channel *c, const uint8_t *data, size_t bytes,
                     bool mended)
{
    struct buf *block = buf_new(p, bytes > 0 ? bytes : 1);
    memcpy(block->data, data, bytes);
    if (mended) {
        mend(block->data, bytes, c->schema);
    }
    struct item_head head;
    struct batch *b = NULL;
    if (frame_check_item(block->data, bytes, &head) != ERR_OK) {
        buf_unref(block);
        return;
    }
    struct item it = {.kind = (enum item_kind)head.item, .count = head.count, .first = head.first,
                      .epoch = head.epoch};
    if (it.kind != ITEM_BATCH) {
        buf_unref(block);
        (void)channel_account(c, &it);
        return;
    }
    if (batch_decode(block, sizeof head, bytes - sizeof head, c->schema, &b) != ERR_OK) {
        return;
    }
    if (b->pub.live != head.count) {
        batch_free(b);
        return;
    }
    (void)channel_account(c, &it);
    again(c, &head, b);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    log_setup("item_fuzz", (enum log_level)(LOG_ERROR + 1)); /* gaps are what is fed to it */
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct oxb_schema *s = NULL;
    if (size < 1 || schema_parse(SCHEMA, &s, NULL) != ERR_OK) {
        return 0;
    }
    struct pool *p = pool_new(0);
    struct channel *c = channel_new(1, CHANNEL_IN, s, p);
    bool mended = data[0] % 2 == 1;
    size_t at = 1;
    while (size - at >= 2) {
        size_t bytes = (size_t)data[at] | (size_t)data[at + 1] << 8;
        at += 2;
        bytes = bytes < size - at ? bytes : size - at;
        one_item(p, c, data + at, bytes, mended);
        at += bytes;
    }
    const struct ledger *l = &c->ledger;
    assert(atomic_load(&l->mismatched) <= atomic_load(&l->compared));
    channel_free(c);
    assert(pool_bytes_used(p) == 0);
    pool_free(p);
    return 0;
}
