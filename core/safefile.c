/* core/safefile.c - temporary file, fsync, rename, fsync of the folder. */
#include "core/safefile.h"

#include "core/failpoint.h"
#include "core/file.h"
#include "core/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum err fail_io(struct fail *f, const char *verb, const char *path)
{
    int e = errno;
    return fail_set(f, ERR_IO, e == ENOSPC ? "make room on the disk" : "check the disk",
                    "cannot %s %s: %s", verb, path, strerror(e));
}

enum err safefile_open(struct safefile *w, const char *path, struct fail *f)
{
    *w = (struct safefile){.path = mem_dup(path), .fd = -1};
    w->temporary = mem_printf("%s.tmp.%ld", path, (long)getpid());
    w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (w->fd < 0) {
        enum err e = fail_io(f, "create", w->temporary);
        safefile_discard(w);
        return e;
    }
    return ERR_OK;
}

/* made_to_fail - a test lets the step fail as a full or dying disk would. */
static bool made_to_fail(const char *name, int with)
{
    if (!FAILPOINT_FAILS(name)) {
        return false;
    }
    errno = with;
    return true;
}

enum err safefile_add(struct safefile *w, const void *data, size_t bytes, struct fail *f)
{
    const char *at = data;
    size_t left = bytes;
    if (made_to_fail("safefile.write", ENOSPC)) {
        enum err e = fail_io(f, "write", w->temporary);
        safefile_discard(w);
        return e;
    }
    while (left > 0) {
        ssize_t n = write(w->fd, at, left);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            errno = n == 0 ? ENOSPC : errno;
            enum err e = fail_io(f, "write", w->temporary);
            safefile_discard(w);
            return e;
        }
        at += n;
        left -= (size_t)n;
    }
    w->bytes += bytes;
    return ERR_OK;
}

enum err safefile_sync_dir(const char *dir, struct fail *f)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        enum err e = fail_io(f, "sync the folder", dir);
        if (fd >= 0) {
            close(fd);
        }
        return e;
    }
    close(fd);
    return ERR_OK;
}

enum err safefile_commit(struct safefile *w, struct fail *f)
{
    enum err e = ERR_OK;
    if (made_to_fail("safefile.fsync", EIO) || fsync(w->fd) != 0) {
        e = fail_io(f, "sync", w->temporary);
        safefile_discard(w);
        return e;
    }
    int closed = close(w->fd);
    w->fd = -1;
    if (closed != 0 || rename(w->temporary, w->path) != 0) {
        e = fail_io(f, "replace", w->path);
        safefile_discard(w);
        return e;
    }
    FAILPOINT("safefile.renamed");
    char *dir = file_dir_of(w->path);
    e = safefile_sync_dir(dir, f);
    mem_free(dir);
    mem_free(w->path);
    mem_free(w->temporary);
    *w = (struct safefile){.fd = -1};
    return e;
}

void safefile_discard(struct safefile *w)
{
    if (w->temporary == NULL) {
        return;
    }
    if (w->fd >= 0) {
        close(w->fd);
    }
    unlink(w->temporary);
    mem_free(w->path);
    mem_free(w->temporary);
    *w = (struct safefile){.fd = -1};
}
