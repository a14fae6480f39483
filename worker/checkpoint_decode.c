/* worker/checkpoint_decode.c - unpacking and taking in key groups on all cores. */
#include "worker/checkpoint_decode.h"

#include "core/limits.h"
#include "core/mem.h"
#include "pe/state.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DECODERS_MAX = 8, WAITING_BYTES_MAX = 4 << 20 };

struct parcel { /* one block */
    struct parcel *next;
    struct group_block to;
    struct packed_block block;
    char data[];
};

struct decoder {
    struct decoders *set;
    pthread_t thread;
    struct oxb_state **tables; /* [state_count]: what is lent to it */
    struct unpacker *unpacker;
    /* under the lock */
    struct parcel *first, *last;
};

struct decoders {
    struct oxb_pe *pe;
    unsigned state_count;
    unsigned count;
    pthread_mutex_t lock; /* of the queues */
    pthread_cond_t work, room;
    size_t waiting, blocks; /* bytes, and blocks, that are not done */
    bool stopping;
    struct fail fail;          /* the first */
    struct group_taken *taken; /* [state_count][KEY_GROUPS]: each is its decoder's */
    pthread_mutex_t tables;    /* of the instance's tables, and of the PE's code */
    struct decoder items[DECODERS_MAX];
};

/* is_superseded - a piece on top of one that no file has any more.  Then its group comes whole
 * later, or the check at the end finds that it did not get where it should. */
static bool is_superseded(const struct oxb_state *table, unsigned group, const struct block *b,
                          struct state_piece *head)
{
    return state_piece_head(b->data, b->bytes, head) && head->base > state_imported(table, group);
}

static void note_taken(struct decoders *set, const struct group_block *to,
                       const struct state_piece *head, bool migrated)
{
    struct group_taken *t = &set->taken[to->state * KEY_GROUPS + to->group];
    if (head->base == 0) {
        *t = (struct group_taken){.whole = to->epoch};
    }
    t->deltas += t->whole != to->epoch ? head->entries : 0;
    t->newest = to->epoch;
    t->migrated = t->migrated || migrated;
}

/* Entries of another version go through the PE's code, straight into its table. */
static enum err migrate(struct decoder *d, const struct parcel *p, const struct block *b,
                        struct fail *f)
{
    struct decoders *set = d->set;
    struct oxb_state *table = pe_state_at(set->pe, p->to.state);
    struct state_piece head = {0};
    enum err e = ERR_OK;
    pthread_mutex_lock(&set->tables);
    if (!is_superseded(table, p->to.group, b, &head)) {
        e = pe_take_group(set->pe, state_decl(table)->name, p->to.version, table, p->to.group,
                          b->data, b->bytes, f);
        note_taken(set, &p->to, &head, true);
    }
    pthread_mutex_unlock(&set->tables);
    return e;
}

static void lend(struct decoders *set, struct oxb_state *to, struct oxb_state *from, unsigned group)
{
    pthread_mutex_lock(&set->tables);
    if (!state_lend_group(to, from, group)) {
        abort(); /* the tables have one declaration */
    }
    pthread_mutex_unlock(&set->tables);
}

static enum err take_in(struct decoder *d, const struct parcel *p, const struct block *b,
                        struct fail *f)
{
    struct oxb_state *table = pe_state_at(d->set->pe, p->to.state);
    unsigned group = p->to.group;
    struct oxb_state **own = &d->tables[p->to.state];
    if (*own == NULL) {
        *own = state_new_like(table);
    }
    lend(d->set, *own, table, group);
    struct state_piece head = {0};
    enum err e = ERR_OK;
    if (!is_superseded(*own, group, b, &head)) {
        state_expect(*own, group, p->to.expected);
        e = state_write_group(*own, group, b->data, b->bytes, f);
        note_taken(d->set, &p->to, &head, false);
    }
    lend(d->set, table, *own, group);
    return e;
}

static enum err decode(struct decoder *d, const struct parcel *p, struct fail *f)
{
    struct block b;
    enum err e = block_unpack(d->unpacker, &p->block, &b, f);
    if (e != ERR_OK) {
        return e;
    }
    return p->to.version == pe_type(d->set->pe)->state_version ? take_in(d, p, &b, f)
                                                               : migrate(d, p, &b, f);
}

static void *decoder_main(void *arg)
{
    struct decoder *d = arg;
    struct decoders *set = d->set;
    pthread_setname_np(pthread_self(), "oxb-restore");
    pthread_mutex_lock(&set->lock);
    for (;;) {
        while (d->first == NULL && !set->stopping) {
            pthread_cond_wait(&set->work, &set->lock);
        }
        if (set->stopping) {
            break;
        }
        struct parcel *p = d->first;
        d->first = p->next;
        d->last = d->first == NULL ? NULL : d->last;
        bool skip = set->fail.code != ERR_OK;
        pthread_mutex_unlock(&set->lock);
        struct fail f = {0};
        enum err e = skip ? ERR_OK : decode(d, p, &f);
        pthread_mutex_lock(&set->lock);
        if (e != ERR_OK && set->fail.code == ERR_OK) {
            set->fail = f;
            set->fail.code = e;
        }
        set->waiting -= p->block.bytes;
        set->blocks--;
        pthread_cond_broadcast(&set->room);
        mem_free(p);
    }
    pthread_mutex_unlock(&set->lock);
    return NULL;
}

struct decoders *decoders_new(struct oxb_pe *pe)
{
    struct decoders *set = mem_alloc(sizeof *set);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned wanted = cores < 1 ? 1 : cores > DECODERS_MAX ? DECODERS_MAX : (unsigned)cores;
    set->pe = pe;
    set->state_count = pe_state_count(pe);
    set->taken = mem_array((size_t)set->state_count * KEY_GROUPS, sizeof *set->taken);
    pthread_mutex_init(&set->lock, NULL);
    pthread_mutex_init(&set->tables, NULL);
    pthread_cond_init(&set->work, NULL);
    pthread_cond_init(&set->room, NULL);
    for (; set->count < wanted; set->count++) {
        struct decoder *d = &set->items[set->count];
        d->set = set;
        d->tables = mem_array(set->state_count, sizeof(struct oxb_state *));
        d->unpacker = unpacker_new();
        if (pthread_create(&d->thread, NULL, decoder_main, d) != 0) {
            mem_free(d->tables);
            unpacker_free(d->unpacker);
            break;
        }
    }
    if (set->count == 0) {
        fputs("no thread could be started\n", stderr);
        abort();
    }
    return set;
}

void decoders_free(struct decoders *set)
{
    if (set == NULL) {
        return;
    }
    pthread_mutex_lock(&set->lock);
    set->stopping = true;
    pthread_cond_broadcast(&set->work);
    pthread_mutex_unlock(&set->lock);
    for (unsigned n = 0; n < set->count; n++) {
        struct decoder *d = &set->items[n];
        pthread_join(d->thread, NULL);
        for (struct parcel *p = d->first, *next; p != NULL; p = next) {
            next = p->next;
            mem_free(p);
        }
        for (unsigned k = 0; k < set->state_count; k++) {
            state_free(d->tables[k]);
        }
        mem_free(d->tables);
        unpacker_free(d->unpacker);
    }
    pthread_cond_destroy(&set->room);
    pthread_cond_destroy(&set->work);
    pthread_mutex_destroy(&set->tables);
    pthread_mutex_destroy(&set->lock);
    mem_free(set->taken);
    mem_free(set);
}

void decoders_put(struct decoders *set, const struct packed_block *b, struct group_block to)
{
    struct parcel *p = mem_raw(sizeof *p + b->bytes);
    *p = (struct parcel){.to = to, .block = *b};
    memcpy(p->data, b->data, b->bytes);
    p->block.data = p->data;
    struct decoder *d = &set->items[to.group % set->count];
    pthread_mutex_lock(&set->lock);
    while (set->waiting > WAITING_BYTES_MAX && set->fail.code == ERR_OK) {
        pthread_cond_wait(&set->room, &set->lock);
    }
    if (d->last != NULL) {
        d->last->next = p;
    } else {
        d->first = p;
    }
    d->last = p;
    set->waiting += b->bytes;
    set->blocks++;
    pthread_cond_broadcast(&set->work);
    pthread_mutex_unlock(&set->lock);
}

const struct group_taken *decoders_taken(const struct decoders *set, unsigned state, unsigned group)
{
    return &set->taken[state * KEY_GROUPS + group];
}

enum err decoders_wait(struct decoders *set, struct fail *f)
{
    pthread_mutex_lock(&set->lock);
    while (set->blocks > 0) {
        pthread_cond_wait(&set->room, &set->lock);
    }
    enum err e = set->fail.code;
    if (e != ERR_OK && f != NULL) {
        *f = set->fail;
    }
    pthread_mutex_unlock(&set->lock);
    return e;
}
