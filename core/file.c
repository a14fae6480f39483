/* core/file.c - reading and durable writing of whole files. */
#include "core/file.h"

#include "core/clock.h"
#include "core/limits.h"
#include "core/mem.h"

#include <errno.h>
#include <limits.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static enum err fail_errno(struct fail *f, const char *verb, const char *path)
{
    int code = errno;
    return fail_set(f, code == ENOENT ? ERR_NOTFOUND : ERR_IO, "check the path and its permissions",
                    "cannot %s %s: %s", verb, path, strerror(code));
}

enum err file_read(const char *path, size_t bytes_max, char **data, size_t *bytes, struct fail *f)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return fail_errno(f, "open", path);
    }
    enum err e = ERR_OK;
    char *out = NULL;
    size_t used = 0, capacity = 0;
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) { /* it may still change */
        if ((uint64_t)st.st_size > bytes_max) {
            close(fd);
            return fail_set(f, ERR_LIMIT, "use a smaller file", "%s is larger than %zu bytes", path,
                            bytes_max);
        }
        capacity = (size_t)st.st_size + 1; /* so that the end shows without growing */
        out = mem_resize(out, capacity + 1, 1);
    }
    for (;;) {
        if (used == capacity) {
            capacity = capacity != 0 ? capacity * 2 : 16384;
            out = mem_resize(out, capacity + 1, 1);
        }
        ssize_t n = read(fd, out + used, capacity - used);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            e = fail_errno(f, "read", path);
            break;
        }
        if (n == 0) {
            break;
        }
        used += (size_t)n;
        if (used > bytes_max) {
            e = fail_set(f, ERR_LIMIT, "use a smaller file", "%s is larger than %zu bytes", path,
                         bytes_max);
            break;
        }
    }
    close(fd);
    if (e != ERR_OK) {
        mem_free(out);
        return e;
    }
    out[used] = '\0';
    *data = out;
    *bytes = used;
    return ERR_OK;
}

static int write_all(int fd, const char *p, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = write(fd, p, bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -1;
        }
        p += n;
        bytes -= (size_t)n;
    }
    return 0;
}

static int sync_dir(const char *path)
{
    char *dir = file_dir_of(path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mem_free(dir);
    if (fd < 0) {
        return -1;
    }
    int rc = fsync(fd);
    close(fd);
    return rc;
}

enum err file_write_safe(const char *path, const void *data, size_t bytes, struct fail *f)
{
    char *temporary = mem_printf("%s.tmp.%ld", path, (long)getpid());
    enum err e = ERR_OK;
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        e = fail_errno(f, "create", temporary);
        goto out;
    }
    int bad = write_all(fd, data, bytes) != 0 || fsync(fd) != 0;
    if (close(fd) != 0 || bad) {
        e = fail_errno(f, "write", temporary);
        unlink(temporary);
        goto out;
    }
    if (rename(temporary, path) != 0 || sync_dir(path) != 0) {
        e = fail_errno(f, "replace", path);
        unlink(temporary);
    }
out:
    mem_free(temporary);
    return e;
}

enum err file_make_dirs(const char *path, struct fail *f)
{
    char *copy = mem_dup(path);
    enum err e = ERR_OK;
    for (char *p = copy + 1;; p++) {
        if (*p == '/' || *p == '\0') {
            char end = *p;
            *p = '\0';
            if (mkdir(copy, 0700) != 0 && errno != EEXIST) {
                e = fail_errno(f, "create folder", copy);
                break;
            }
            *p = end;
            if (end == '\0') {
                break;
            }
        }
    }
    mem_free(copy);
    return e;
}

enum err file_lock(const char *folder, const char *hint, int *fd, struct fail *f)
{
    char *path = file_join(folder, "lock");
    uint64_t until_us = clock_now_us() + LOCK_WAIT_MS * 1000u;
    enum err e = ERR_OK;
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd < 0) {
        e = fail_errno(f, "open", path);
    }
    while (e == ERR_OK && flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        const struct timespec pause = {0, 10000000};
        if (clock_now_us() >= until_us) {
            close(*fd);
            *fd = -1;
            e = fail_set(f, ERR_DENIED, hint, "another process uses the folder %s", folder);
            break;
        }
        nanosleep(&pause, NULL);
    }
    mem_free(path);
    return e;
}

char *file_dir_of(const char *path)
{
    char absolute[PATH_MAX];
    char *slash;
    if (path[0] == '/') {
        char *copy = mem_dup(path);
        slash = strrchr(copy, '/');
        slash[slash == copy ? 1 : 0] = '\0';
        return copy;
    }
    if (getcwd(absolute, sizeof absolute) == NULL) {
        return mem_dup("/");
    }
    const char *last = strrchr(path, '/');
    if (last == NULL) {
        return mem_dup(absolute);
    }
    return mem_printf("%s/%.*s", absolute, (int)(last - path), path);
}

char *file_join(const char *dir, const char *name)
{
    return name[0] == '/' ? mem_dup(name) : mem_printf("%s/%s", dir, name);
}
