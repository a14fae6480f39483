/* bench/recovery/floor.c - what reading a checkpoint's files back must cost at the least.
 *
 * Method:     a thread per core reads the files in order, checks their sums, unpacks the blocks of
 *             its share of the key groups, and puts each entry into one plain open-addressing table
 *             that has room from the beginning, on large pages.  Nothing is transferred, no length
 * of an entry is checked, and the entries are known to be those of up-keep (bench/upgrade/pes.c).
 * Why:        the first output after a kill cannot come sooner than this, wherever the state is. */
#include "bench/recovery/recovery.h"
#include "core/blockfile.h"
#include "core/clock.h"
#include "core/mem.h"
#include "worker/checkpoint.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    THREADS_MAX = 8,
    FILES_MAX = 4096,
    CELLS = 12,
    PIECE_HEAD = 1 + 9 + 9 + 9, /* pe/state_wire.c: then array32 of entries */
    ENTRY_BYTES = 3 + 9 + 5 + 8 + 9 * CELLS,
    HASH_AT = 4,
    CELLS_AT = 3 + 9 + 5 + 8,
};

struct entry {
    uint64_t hash, used;
    uint64_t cells[CELLS];
};

struct files {
    char dir[4300];
    char *names[FILES_MAX];
    size_t count;
};

struct share {
    pthread_t thread;
    const struct files *files;
    unsigned number, of;
    struct entry *table; /* [mask + 1] */
    uint64_t mask;
    uint64_t entries; /* put, each time */
    bool bad;
};

static uint64_t number_at(const uint8_t *p) /* behind its tag, big-endian */
{
    uint64_t v;
    memcpy(&v, p + 1, sizeof v);
    return __builtin_bswap64(v);
}

static void put_entry(struct share *s, const uint8_t *p)
{
    uint64_t hash;
    memcpy(&hash, p + HASH_AT, sizeof hash);
    hash = __builtin_bswap64(hash);
    uint64_t at = (hash >> 20) & s->mask;
    while (s->table[at].used != 0 && s->table[at].hash != hash) {
        at = (at + 1) & s->mask;
    }
    struct entry *e = &s->table[at];
    e->hash = hash;
    e->used = 1;
    for (unsigned c = 0; c < CELLS; c++) {
        e->cells[c] = number_at(p + CELLS_AT + 9 * (size_t)c);
    }
}

static void put_block(struct share *s, const struct block *b)
{
    const uint8_t *p = (const uint8_t *)b->data + PIECE_HEAD + 5;
    const uint8_t *end = (const uint8_t *)b->data + b->bytes;
    for (; p + ENTRY_BYTES <= end; p += ENTRY_BYTES) {
        put_entry(s, p);
        s->entries++;
    }
    s->bad = s->bad || p != end;
}

static enum err get(void *file, void *to, size_t bytes, struct fail *f)
{
    return fread(to, 1, bytes, file) == bytes ? ERR_OK
                                              : fail_set(f, ERR_CORRUPT, "", "it is too short");
}

static void take_file(struct share *s, const char *name)
{
    char path[4600];
    struct packed_block packed = {.kind = SNAPSHOT_META};
    struct fail f = {0};
    snprintf(path, sizeof path, "%s/%s", s->files->dir, name);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        s->bad = true;
        return;
    }
    struct blockfile_reader *r = blockfile_open(get, file);
    struct unpacker *u = unpacker_new();
    while (!s->bad && packed.kind != BLOCK_END) {
        struct block b;
        s->bad = blockfile_next_packed(r, &packed, &f) != ERR_OK;
        if (!s->bad && packed.kind == SNAPSHOT_GROUP && (packed.tag & 0xff) % s->of == s->number) {
            s->bad = block_unpack(u, &packed, &b, &f) != ERR_OK;
            if (!s->bad) {
                put_block(s, &b);
            }
        }
    }
    unpacker_free(u);
    blockfile_reader_free(r);
    fclose(file);
}

static void *share_main(void *arg)
{
    struct share *s = arg;
    s->table = mem_pages((s->mask + 1) * sizeof *s->table);
    for (size_t n = 0; n < s->files->count && !s->bad; n++) {
        take_file(s, s->files->names[n]);
    }
    return NULL;
}

static int by_epoch(const void *a, const void *b)
{
    uint64_t x = strtoull(*(char *const *)a, NULL, 10), y = strtoull(*(char *const *)b, NULL, 10);
    return (x > y) - (x < y);
}

static void folder_of(const struct run *r, char *out, size_t bytes)
{
    snprintf(out, bytes, "%s/floor", r->dir);
}

bool floor_keep(const struct run *r)
{
    char from[4300], to[4300];
    snprintf(from, sizeof from, "%s/master/checkpoints/river", r->dir);
    folder_of(r, to, sizeof to);
    DIR *d = mkdir(to, 0700) == 0 ? opendir(from) : NULL;
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        char a[4600], b[4600];
        snprintf(a, sizeof a, "%s/%s", from, e->d_name);
        snprintf(b, sizeof b, "%s/%s", to, e->d_name);
        if (strstr(e->d_name, ".keep.") != NULL && strstr(e->d_name, ".tmp") == NULL) {
            (void)!link(a, b); /* what was swept since is not needed */
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    return d != NULL;
}

static bool find_files(const struct run *r, struct files *f)
{
    folder_of(r, f->dir, sizeof f->dir);
    DIR *d = opendir(f->dir);
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        if (e->d_name[0] != '.' && f->count < FILES_MAX) {
            f->names[f->count++] = mem_dup(e->d_name);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    qsort(f->names, f->count, sizeof f->names[0], by_epoch);
    return f->count > 0;
}

bool floor_run(const struct run *r, struct floor *out)
{
    struct files *files = mem_alloc(sizeof *files);
    struct share shares[THREADS_MAX];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned count = cores < 1 ? 1 : cores > THREADS_MAX ? THREADS_MAX : (unsigned)cores;
    uint64_t slots = 1024, entries = 0;
    bool good = find_files(r, files);
    while (slots * 3 / 4 < r->keys / count) {
        slots *= 2;
    }
    uint64_t begin_ns = clock_now_ns();
    for (unsigned n = 0; n < count; n++) {
        shares[n] = (struct share){.files = files, .number = n, .of = count, .mask = slots - 1};
        if (pthread_create(&shares[n].thread, NULL, share_main, &shares[n]) != 0) {
            abort();
        }
    }
    for (unsigned n = 0; n < count; n++) {
        pthread_join(shares[n].thread, NULL);
        good = good && !shares[n].bad;
        entries += shares[n].entries;
    }
    out->seconds = (double)(clock_now_ns() - begin_ns) / 1e9;
    out->times = (double)entries / (double)r->keys;
    for (unsigned n = 0; n < count; n++) {
        mem_pages_free(shares[n].table, slots * sizeof(struct entry));
    }
    for (size_t n = 0; n < files->count; n++) {
        mem_free(files->names[n]);
    }
    mem_free(files);
    return good;
}
