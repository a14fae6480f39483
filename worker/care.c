/* worker/care.c - tuples one by one, and those that kill. */
#include "worker/care.h"

#include "core/clock.h"
#include "core/limits.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "net/states.h"
#include "worker/crash.h"
#include "worker/hold.h"
#include "worker/chain.h"

#include <string.h>
#include <xxhash.h>

struct care {
    enum plan_care mode;
    char *error;
    uint64_t *killers;
    size_t killer_count;
    size_t met; /* of these: they are 0 then */
    uint64_t from_epoch;
    uint64_t until_us;  /* 0: it has not begun */
    struct strbuf text; /* of the tuple that is noted */
};

struct care *care_new(const struct rec_INSTANCE_SPEC *spec, uint64_t from_epoch)
{
    if (spec->care != CARE_HOLD && spec->care != CARE_SINGLY) {
        return NULL;
    }
    struct care *c = mem_alloc(sizeof *c);
    *c = (struct care){.mode = (enum plan_care)spec->care,
                       .error = mem_dup(spec->crash),
                       .killer_count = spec->killers.bytes / sizeof(uint64_t),
                       .from_epoch = from_epoch};
    c->killers = mem_array(c->killer_count, sizeof *c->killers);
    for (size_t k = 0; k < c->killer_count; k++) {
        for (unsigned b = 0; b < 8; b++) {
            c->killers[k] |= (uint64_t)spec->killers.data[8 * k + b] << (8 * b);
        }
    }
    return c;
}

void care_free(struct care *c)
{
    if (c != NULL) {
        mem_free(c->error);
        mem_free(c->killers);
        strbuf_fini(&c->text);
        mem_free(c);
    }
}

void care_begin(struct instance *i)
{
    struct care *c = i->care;
    if (c == NULL) {
        return;
    }
    c->until_us = clock_now_us() + (uint64_t)CARE_MS * 1000;
    if (c->mode == CARE_HOLD) {
        hold_begin(i, 0, "", NULL, c->error);
    }
}

void care_end(struct instance *i)
{
    care_free(i->care);
    i->care = NULL;
}

/* G2 */
static bool is_over(const struct instance *i)
{
    const struct care *c = i->care;
    bool quiet = c->killer_count > 0 ? c->met >= c->killer_count : clock_now_us() > c->until_us;
    return quiet && hold_is_empty(i) &&
           atomic_load_explicit(&i->chain->commit, memory_order_relaxed) > c->from_epoch;
}

bool care_is_on(const struct instance *i)
{
    return i->care != NULL && i->care->mode == CARE_SINGLY && !is_over(i);
}

const char *care_error(const struct instance *i)
{
    return i->care->error;
}

/* sum_of - of the stream and all fields but times, which a source may take from its clock and which
 * are then others when it is replayed.  Never 0. */
static uint64_t sum_of(const char *stream, const struct oxb_batch *b, uint32_t row)
{
    XXH64_hash_t sum = XXH3_64bits(stream, strlen(stream));
    for (uint32_t f = 0; f < b->schema->field_count; f++) {
        const struct oxb_field *field = &b->schema->fields[f];
        const struct oxb_col *c = &b->cols[f];
        size_t width = type_width(field);
        if (c->data == NULL || field->type == OXB_TIME) {
            continue;
        }
        if (type_has_heap(field->type)) {
            const struct oxb_ref r = ((const struct oxb_ref *)c->data)[row];
            sum = r.len > 0 ? XXH3_64bits_withSeed(c->heap + r.off, r.len, sum + f) : sum + f + 1;
        } else {
            sum = XXH3_64bits_withSeed((const uint8_t *)c->data + width * row, width, sum + f);
        }
    }
    return sum != 0 ? sum : 1;
}

bool care_kills(struct instance *i, const char *stream, const struct batch *row)
{
    struct care *c = i->care;
    strbuf_clear(&c->text);
    uint32_t at = row->pub.sel != NULL ? row->pub.sel[0] : 0;
    uint64_t sum = sum_of(stream, &row->pub, at);
    for (size_t k = 0; k < c->killer_count; k++) {
        if (c->killers[k] == sum) {
            c->killers[k] = 0; /* an equal one after it has not killed yet */
            c->met++;
            return true;
        }
    }
    batch_json_row(&row->pub, at, &c->text);
    crash_call_tuple(&(struct crash_tuple){.instance = i->id,
                                           .sum = sum,
                                           .tuple = c->text.data,
                                           .tuple_bytes = c->text.bytes,
                                           .stream = stream,
                                           .stream_bytes = strlen(stream)});
    return false;
}
