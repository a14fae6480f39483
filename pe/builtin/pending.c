/* pe/builtin/pending.c - segments beside a file, and how they become part of it. */
#include "pe/builtin/pending.h"

#include "core/failpoint.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/mem.h"
#include "core/safefile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_BYTES (256u << 10)

static char *prefix_of(const struct pending *p, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    return mem_printf("%.*s.%s.oxbow.%s.", (int)(name - path), path, name, p->uid);
}

void pending_init(struct pending *p, const char *path, const char *uid, uint64_t generation)
{
    *p = (struct pending){
        .path = mem_dup(path), .uid = mem_dup(uid), .generation = generation, .fd = -1};
    p->prefix = prefix_of(p, path);
}

static void drop_segment(struct segment *s)
{
    mem_free(s->path);
    mem_free(s->file);
}

void pending_fini(struct pending *p)
{
    if (p->path == NULL) {
        return;
    }
    if (p->fd >= 0) {
        close(p->fd);
    }
    for (size_t i = 0; i < p->count; i++) {
        drop_segment(&p->list[i]);
    }
    XXH3_freeState(p->hash);
    mem_free(p->list);
    mem_free(p->file);
    mem_free(p->prefix);
    mem_free(p->before);
    mem_free(p->uid);
    mem_free(p->path);
    *p = (struct pending){.fd = -1};
}

static bool failed(struct pending *p, const char *path, const char *verb)
{
    snprintf(p->error, sizeof p->error, "%s: cannot %s: %s", path, verb, strerror(errno));
    return false;
}

static int open_segment(struct pending *p)
{
    if (p->fd >= 0) {
        return p->fd;
    }
    if (p->hash == NULL) {
        p->hash = XXH3_createState();
    }
    XXH3_64bits_reset(p->hash);
    p->file = mem_printf("%s%" PRIu64 ".%" PRIu64, p->prefix, p->generation, p->number++);
    p->fd = open(p->file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (p->fd < 0) {
        failed(p, p->file, "create it");
        mem_free(p->file);
        p->file = NULL;
    }
    return p->fd;
}

bool pending_write(struct pending *p, struct outbuf *out)
{
    int fd = open_segment(p);
    size_t left = outbuf_left(out);
    const char *at = out->text.data + out->sent;
    if (fd < 0) {
        return false;
    }
    XXH3_state_t before;
    XXH3_copyState(&before, p->hash);
    XXH3_64bits_update(p->hash, at, left);
    int e = FAILPOINT_FAILS("segment.write") ? ENOSPC : outbuf_write(out, fd);
    if (e == 0) {
        return true;
    }
    XXH3_copyState(p->hash, &before); /* what is left is still where it was (O2 of outbuf.h) */
    XXH3_64bits_update(p->hash, at, left - outbuf_left(out));
    errno = e;
    return failed(p, p->file, "write");
}

bool pending_close(struct pending *p, uint64_t epoch, struct oxb_blob *blob)
{
    struct stat now;
    if (p->fd >= 0) {
        if (fstat(p->fd, &now) != 0) {
            return failed(p, p->file, "look at it");
        }
        if (blob != NULL) {
            oxb_blob_file(blob, p->fd, p->file);
        }
        close(p->fd);
        p->fd = -1;
        p->list = mem_grow(p->list, p->count, &p->capacity, sizeof *p->list);
        p->list[p->count++] = (struct segment){.path = mem_dup(p->path),
                                               .file = p->file,
                                               .start = p->end,
                                               .bytes = (uint64_t)now.st_size,
                                               .sum = XXH3_64bits_digest(p->hash)};
        p->file = NULL;
        p->end += (uint64_t)now.st_size;
    }
    for (size_t i = 0; i < p->count; i++) {
        p->list[i].epoch = p->list[i].epoch == 0 ? epoch : p->list[i].epoch;
    }
    return true;
}

/* ---- committing */

static bool write_at(int fd, const char *data, size_t bytes, uint64_t at)
{
    while (bytes > 0) {
        ssize_t n = pwrite(fd, data, bytes, (off_t)at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            errno = n == 0 ? ENOSPC : errno;
            return false;
        }
        data += n;
        at += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return true;
}

/* is_whole - every byte as it was written. */
static bool is_whole(struct pending *p, const struct segment *s, int from)
{
    char *block = mem_alloc(COPY_BYTES);
    XXH3_state_t *hash = XXH3_createState();
    uint64_t done = 0;
    ssize_t n = 1;
    XXH3_64bits_reset(hash);
    while (done < s->bytes && n > 0) {
        uint64_t left = s->bytes - done;
        n = pread(from, block, left < COPY_BYTES ? left : COPY_BYTES, (off_t)done);
        if (n > 0) {
            XXH3_64bits_update(hash, block, (size_t)n);
            done += (uint64_t)n;
        } else if (n < 0 && errno == EINTR) {
            n = 1;
        }
    }
    bool ok = done == s->bytes && (s->sum == 0 || s->sum == XXH3_64bits_digest(hash));
    if (!ok && n < 0) {
        ok = failed(p, s->file, "read it");
    } else if (!ok) {
        snprintf(p->error, sizeof p->error,
                 "%s: it is damaged: what was not yet committed to %s is not all there", s->file,
                 s->path);
    }
    XXH3_freeState(hash);
    mem_free(block);
    return ok;
}

/* is_ours - what stands where the segment goes is a half copy of it, or was never written: a crash
 * leaves nothing else behind what was synced. */
static bool is_ours(struct pending *p, const struct segment *s, int from, int to)
{
    enum { BLOCK = 4096 };
    char ours[BLOCK], there[BLOCK];
    for (uint64_t done = 0; done < s->bytes;) {
        size_t want = s->bytes - done < BLOCK ? (size_t)(s->bytes - done) : BLOCK;
        ssize_t n = pread(to, there, want, (off_t)(s->start + done));
        if (n == 0) {
            break;
        }
        if (n < 0 || pread(from, ours, (size_t)n, (off_t)done) != n) {
            return failed(p, s->path, "compare it with what it is to get");
        }
        for (ssize_t i = 0; i < n; i++) {
            if (there[i] != ours[i] && there[i] != 0) {
                snprintf(p->error, sizeof p->error,
                         "%s: other bytes stand at %" PRIu64 ", where %s goes; another program "
                         "wrote to it, or it was written anew",
                         s->path, s->start + done + (uint64_t)i, s->file);
                return false;
            }
        }
        done += (uint64_t)n;
    }
    return true;
}

/* copy - the segment's bytes to their place.  Return: false, see `error`. */
static bool copy(struct pending *p, const struct segment *s, int from, int to)
{
    char *block = mem_alloc(COPY_BYTES);
    bool ok = true;
    for (uint64_t done = 0; ok && done < s->bytes;) {
        uint64_t left = s->bytes - done;
        ssize_t n = pread(from, block, left < COPY_BYTES ? left : COPY_BYTES, (off_t)done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            errno = n == 0 ? ENODATA : errno;
            ok = failed(p, s->file, "read it to its end");
        } else if (!write_at(to, block, (size_t)n, s->start + done)) {
            ok = failed(p, s->path, "write");
        } else if (FAILPOINT_FAILS("segment.commit.half")) {
            errno = ENOSPC;
            ok = failed(p, s->path, "write");
        } else {
            done += (uint64_t)n;
        }
    }
    mem_free(block);
    return ok;
}

static bool reaches(struct pending *p, const struct segment *s, uint64_t has, uint64_t wanted)
{
    snprintf(p->error, sizeof p->error,
             "%s: it has %" PRIu64 " bytes, but %" PRIu64 " were committed to it; put back what is "
             "missing, or deploy the topology anew",
             s->path, has, wanted);
    return has >= wanted;
}

/* commit_open - Return: false, see `error`. */
static bool commit_open(struct pending *p, const struct segment *s, int to)
{
    struct stat now;
    if (fstat(to, &now) != 0) {
        return failed(p, s->path, "look at it");
    }
    int from = open(s->file, O_RDONLY | O_CLOEXEC);
    uint64_t has = (uint64_t)now.st_size;
    if (from < 0 && errno == ENOENT) { /* G2: it was committed before */
        return reaches(p, s, has, s->start + s->bytes);
    }
    if (from < 0) {
        return failed(p, s->file, "read what was not yet committed");
    }
    FAILPOINT("segment.commit.before");
    bool ok = reaches(p, s, has, s->start) && is_whole(p, s, from) &&
              (has == s->start || is_ours(p, s, from, to)) && copy(p, s, from, to); /* G3 */
    FAILPOINT("segment.commit.copied");
    close(from);
    if (ok && fsync(to) != 0) {
        ok = failed(p, s->path, "sync it");
    }
    if (ok) {
        unlink(s->file);
        FAILPOINT("segment.commit.after");
    }
    return ok;
}

bool pending_commit(struct pending *p, uint64_t epoch)
{
    size_t done = 0;
    bool ok = true;
    for (; done < p->count; done++) {
        const struct segment *s = &p->list[done];
        if (epoch != UINT64_MAX && (s->epoch == 0 || s->epoch > epoch)) {
            break;
        }
        int to = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        ok = to >= 0 ? commit_open(p, s, to) : failed(p, s->path, "open it for writing");
        if (to >= 0) {
            close(to);
        }
        if (!ok) {
            break;
        }
    }
    for (size_t i = 0; i < done; i++) {
        drop_segment(&p->list[i]);
    }
    if (done > 0) {
        memmove(p->list, p->list + done, (p->count - done) * sizeof *p->list);
        p->count -= done;
    }
    return ok;
}

/* ---- snapshots */

json_t *pending_save(const struct pending *p)
{
    json_t *list = json_array();
    for (size_t i = 0; i < p->count; i++) {
        const struct segment *s = &p->list[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "path", s->path,
                                              "file", s->file, "start", (json_int_t)s->start,
                                              "bytes", (json_int_t)s->bytes, "epoch",
                                              (json_int_t)s->epoch, "sum", (json_int_t)s->sum));
    }
    return json_pack("{s:s, s:I, s:I, s:I, s:o}", "path", p->path, "end", (json_int_t)p->end,
                     "generation", (json_int_t)p->generation, "number", (json_int_t)p->number,
                     "segments", list);
}

bool pending_load(struct pending *p, const json_t *saved)
{
    const char *path, *file;
    json_int_t end, generation, number, start, bytes, epoch, sum;
    json_t *list, *one;
    size_t i;
    if (json_unpack((json_t *)(uintptr_t)saved, "{s:s, s:I, s:I, s:I, s:o}", "path", &path, "end",
                    &end, "generation", &generation, "number", &number, "segments", &list) != 0) {
        return false;
    }
    json_array_foreach(list, i, one)
    {
        sum = 0;
        if (json_unpack(one, "{s:s, s:s, s:I, s:I, s:I, s?I}", "path", &path, "file", &file,
                        "start", &start, "bytes", &bytes, "epoch", &epoch, "sum", &sum) != 0) {
            return false;
        }
        p->list = mem_grow(p->list, p->count, &p->capacity, sizeof *p->list);
        p->list[p->count++] = (struct segment){.path = mem_dup(path),
                                               .file = mem_dup(file),
                                               .start = (uint64_t)start,
                                               .bytes = (uint64_t)bytes,
                                               .epoch = (uint64_t)epoch,
                                               .sum = (uint64_t)sum};
    }
    p->before = mem_dup(json_string_value(json_object_get(saved, "path")));
    p->end = (uint64_t)end; /* of `path`, which may be another */
    if ((uint64_t)generation == p->generation) {
        p->number = (uint64_t)number;
    }
    return true;
}

/* ---- beginning */

static bool is_known(const struct pending *p, const char *file)
{
    for (size_t i = 0; i < p->count; i++) {
        if (strcmp(p->list[i].file, file) == 0) {
            return true;
        }
    }
    return false;
}

/* sweep - beside `path`. */
static void sweep(struct pending *p, const char *path)
{
    char *prefix = prefix_of(p, path);
    char *dir = file_dir_of(prefix);
    const char *slash = strrchr(prefix, '/');
    const char *name = slash != NULL ? slash + 1 : prefix;
    DIR *d = opendir(dir);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        char *file = mem_printf("%.*s%s", (int)(name - prefix), prefix, e->d_name);
        if (strncmp(e->d_name, name, strlen(name)) == 0 && !is_known(p, file)) {
            unlink(file);
        }
        mem_free(file);
    }
    if (d != NULL) {
        closedir(d);
    }
    mem_free(dir);
    mem_free(prefix);
}

static bool begin_empty(struct pending *p)
{
    int fd = open(p->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        return failed(p, p->path, "open it for writing");
    }
    close(fd);
    p->end = 0;
    return true;
}

/* G3: nothing may stand behind what the checkpoint knows of. */
static bool check_length(struct pending *p)
{
    struct stat now;
    if (stat(p->path, &now) != 0) {
        return p->end == 0 ? begin_empty(p) : failed(p, p->path, "find what was committed to it");
    }
    if ((uint64_t)now.st_size == p->end) {
        return true;
    }
    snprintf(p->error, sizeof p->error,
             "%s: it has %lld bytes, but the checkpoint knows of %" PRIu64
             "; another program wrote to it, or a newer checkpoint was lost: move it away, and "
             "deploy the topology anew",
             p->path, (long long)now.st_size, p->end);
    return false;
}

/* go_on_behind - G4 */
static bool go_on_behind(struct pending *p)
{
    struct stat now;
    if (stat(p->path, &now) == 0) {
        p->end = (uint64_t)now.st_size;
    } else if (!begin_empty(p)) {
        return false;
    }
    for (size_t i = 0; i < p->count; i++) {
        const struct segment *s = &p->list[i];
        if (strcmp(s->path, p->path) == 0 && s->start + s->bytes > p->end) {
            p->end = s->start + s->bytes;
        }
    }
    return true;
}

bool pending_begin(struct pending *p, enum pending_from from)
{
    bool is_other = p->before != NULL && strcmp(p->before, p->path) != 0;
    sweep(p, p->path);
    if (is_other) {
        sweep(p, p->before);
    }
    for (size_t i = 0; i < p->count; i++) {
        sweep(p, p->list[i].path);
    }
    switch (from) {
    case PENDING_NOTHING:
        return begin_empty(p);
    case PENDING_NEWCOMER:
        return go_on_behind(p);
    case PENDING_HEIR:
        return !is_other || go_on_behind(p);
    case PENDING_CHECKPOINT:
        return pending_commit(p, UINT64_MAX) && (is_other ? go_on_behind(p) : check_length(p));
    case PENDING_PASSED:
        break;
    }
    return pending_commit(p, UINT64_MAX) && go_on_behind(p);
}
