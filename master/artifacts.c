/* master/artifacts.c - the files topologies need, by SHA-256, in DATA/artifacts. */
#include "master/artifacts.h"

#include "core/file.h"
#include "core/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMPORARY "incoming."

struct upload {
    char *dir;
    char *temporary; /* NULL once renamed */
    char digest[SHA256_HEX_BYTES];
    EVP_MD_CTX *hash;
    int fd;
};

static void remove_leftovers(const char *dir);

static enum err fail_file(struct fail *f, const char *verb)
{
    return fail_set(f, ERR_IO, "check the data folder: space, permissions",
                    "cannot %s an artifact: %s", verb, strerror(errno));
}

enum err artifacts_init(struct artifacts *a, const char *data_dir, struct fail *f)
{
    a->dir = file_join(data_dir, "artifacts");
    enum err e = file_make_dirs(a->dir, f);
    if (e != ERR_OK) {
        artifacts_fini(a);
        return e;
    }
    remove_leftovers(a->dir);
    return ERR_OK;
}

void artifacts_fini(struct artifacts *a)
{
    mem_free(a->dir);
    *a = (struct artifacts){0};
}

char *artifacts_path(const struct artifacts *a, const char *digest)
{
    return sha256_is_hex(digest) ? file_join(a->dir, digest) : mem_dup("/nonexistent"); /* A2 */
}

bool artifacts_has(const struct artifacts *a, const char *digest)
{
    char *path = artifacts_path(a, digest);
    struct stat st;
    bool has = stat(path, &st) == 0 && S_ISREG(st.st_mode);
    mem_free(path);
    return has;
}

enum err artifacts_read(const struct artifacts *a, const char *digest, uint64_t offset, void *out,
                        size_t bytes, size_t *got, uint64_t *total)
{
    char *path = artifacts_path(a, digest);
    enum err e = ERR_NOTFOUND;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    mem_free(path);
    if (fd < 0) {
        return e;
    }
    if (fstat(fd, &st) == 0 && offset <= (uint64_t)st.st_size) {
        ssize_t n = pread(fd, out, bytes, (off_t)offset);
        if (n >= 0) {
            *got = (size_t)n;
            *total = (uint64_t)st.st_size;
            e = ERR_OK;
        }
    }
    close(fd);
    return e;
}

enum err upload_new(const struct artifacts *a, const char *digest, struct upload **out,
                    struct fail *f)
{
    if (!sha256_is_hex(digest)) {
        return fail_set(f, ERR_INVALID, "name it by the SHA-256 of its bytes, in lower-case hex",
                        "not a SHA-256: %.80s", digest);
    }
    struct upload *u = mem_alloc(sizeof *u);
    u->dir = mem_dup(a->dir);
    u->temporary = mem_printf("%s/" TEMPORARY "XXXXXX", a->dir);
    memcpy(u->digest, digest, sizeof u->digest);
    u->hash = EVP_MD_CTX_new();
    u->fd = mkostemp(u->temporary, O_CLOEXEC);
    if (u->fd < 0) {
        mem_free(u->temporary);
        u->temporary = NULL;
    }
    if (u->fd < 0 || u->hash == NULL || EVP_DigestInit_ex(u->hash, EVP_sha256(), NULL) != 1) {
        enum err e = fail_file(f, "create");
        upload_free(u);
        return e;
    }
    *out = u;
    return ERR_OK;
}

enum err upload_write(struct upload *u, const void *data, size_t bytes, struct fail *f)
{
    const char *p = data;
    if (EVP_DigestUpdate(u->hash, data, bytes) != 1) {
        return fail_file(f, "hash");
    }
    while (bytes > 0) {
        ssize_t n = write(u->fd, p, bytes);
        if (n < 0 && errno != EINTR) {
            return fail_file(f, "write");
        }
        if (n > 0) {
            p += n;
            bytes -= (size_t)n;
        }
    }
    return ERR_OK;
}

static enum err sync_folder(const char *dir, struct fail *f)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum err e = fd >= 0 && fsync(fd) == 0 ? ERR_OK : fail_file(f, "keep");
    if (fd >= 0) {
        close(fd);
    }
    return e;
}

enum err upload_finish(struct upload *u, struct fail *f)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char raw[EVP_MAX_MD_SIZE];
    char found[SHA256_HEX_BYTES] = {0};
    unsigned raw_bytes = 0;
    if (EVP_DigestFinal_ex(u->hash, raw, &raw_bytes) != 1 || raw_bytes != 32) {
        return fail_file(f, "hash");
    }
    for (unsigned i = 0; i < raw_bytes; i++) {
        found[2 * i] = digits[raw[i] >> 4];
        found[2 * i + 1] = digits[raw[i] & 15];
    }
    if (strcmp(found, u->digest) != 0) { /* A1 */
        return fail_set(f, ERR_CORRUPT, "send it again under the digest of its bytes",
                        "the bytes have SHA-256 %s, not %s", found, u->digest);
    }
    if (fsync(u->fd) != 0) {
        return fail_file(f, "write");
    }
    char *path = file_join(u->dir, u->digest);
    int rc = rename(u->temporary, path);
    mem_free(path);
    if (rc != 0) {
        return fail_file(f, "name");
    }
    mem_free(u->temporary);
    u->temporary = NULL;
    return sync_folder(u->dir, f);
}

void upload_free(struct upload *u)
{
    if (u == NULL) {
        return;
    }
    if (u->fd >= 0) {
        close(u->fd);
    }
    if (u->temporary != NULL) {
        unlink(u->temporary);
    }
    EVP_MD_CTX_free(u->hash);
    mem_free(u->temporary);
    mem_free(u->dir);
    mem_free(u);
}

/* What an earlier run was writing when it died. */
static void remove_leftovers(const char *dir)
{
    DIR *d = opendir(dir);
    if (d == NULL) {
        return;
    }
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (strncmp(e->d_name, TEMPORARY, strlen(TEMPORARY)) == 0) {
            (void)unlinkat(dirfd(d), e->d_name, 0);
        }
    }
    closedir(d);
}
