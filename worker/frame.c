/* worker/frame.c - encoding and checking the items of peer links. */
#include "worker/frame.h"

#include "core/hash.h"
#include "core/mem.h"

#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the wire format is little-endian; a big-endian build is refused rather than half supported"
#endif

static uint64_t check_of(const struct frame *f)
{
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, (const uint8_t *)&f->item + sizeof f->item.check,
                       sizeof f->item - sizeof f->item.check);
    for (int i = 1; i < f->piece_count; i++) {
        XXH3_64bits_update(&state, f->pieces[i].iov_base, f->pieces[i].iov_len);
    }
    return XXH3_64bits_digest(&state);
}

struct frame *frame_new(uint64_t channel_id, uint64_t number, const struct item *it)
{
    struct frame *f = mem_alloc(sizeof *f);
    atomic_init(&f->refs, 1);
    size_t body = 0;
    int pieces = 1;
    f->batch = it->batch;
    if (it->batch != NULL) {
        struct iovec all[WIRE_IOV_MAX];
        f->wire_head = mem_alloc(batch_wire_head_bytes(it->batch->pub.schema));
        int n = batch_encode(it->batch, f->wire_head, all, &body);
        f->pieces = mem_array((size_t)n + 1, sizeof *f->pieces);
        memcpy(f->pieces + 1, all, (size_t)n * sizeof *all);
        pieces += n;
    } else {
        f->pieces = mem_array(1, sizeof *f->pieces);
    }
    f->head = (struct frame_head){.body_bytes = (uint32_t)(body + sizeof f->item),
                                  .kind = FRAME_ITEM,
                                  .version = FRAME_VERSION,
                                  .magic = FRAME_MAGIC};
    f->item = (struct item_head){.channel = channel_id,
                                 .number = number,
                                 .first = it->first,
                                 .epoch = it->epoch,
                                 .count = it->count,
                                 .item = (uint32_t)it->kind};
    static_assert(offsetof(struct frame, item) ==
                      offsetof(struct frame, head) + sizeof(struct frame_head),
                  "the first piece is both heads");
    f->pieces[0] = (struct iovec){&f->head, sizeof f->head + sizeof f->item};
    f->piece_count = pieces;
    f->bytes = sizeof f->head + sizeof f->item + body;
    f->item.check = check_of(f);
    return f;
}

void frame_ref(struct frame *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
}

void frame_free(struct frame *f)
{
    if (f != NULL && atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1) {
        batch_free(f->batch);
        mem_free(f->wire_head);
        mem_free(f->pieces);
        mem_free(f);
    }
}

enum err frame_check_item(const uint8_t *body, size_t bytes, struct item_head *out)
{
    struct item_head head;
    if (bytes < sizeof head) {
        return ERR_INVALID;
    }
    memcpy(&head, body, sizeof head);
    if (hash_bytes(body + sizeof head.check, bytes - sizeof head.check) != head.check) {
        return ERR_CORRUPT;
    }
    bool data = head.item == ITEM_BATCH;
    if (head.item < ITEM_BATCH || head.item > ITEM_CLOSE || (bytes > sizeof head) != data ||
        data != (head.count > 0) || head.count > BATCH_ROWS_MAX) {
        return ERR_INVALID;
    }
    *out = head;
    return ERR_OK;
}
