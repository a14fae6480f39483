/* core/sha256.c - SHA-256 through libcrypto's EVP interface. */
#include "core/sha256.h"

#include "core/mem.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void to_hex(const unsigned char *raw, char out[SHA256_HEX_BYTES])
{
    for (unsigned i = 0; i < 32; i++) {
        snprintf(out + 2 * (size_t)i, 3, "%02x", raw[i]);
    }
}

void sha256_hex(const void *data, size_t bytes, char out[SHA256_HEX_BYTES])
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned raw_bytes = 0;
    if (EVP_Digest(data, bytes, raw, &raw_bytes, EVP_sha256(), NULL) != 1 || raw_bytes != 32) {
        abort(); /* libcrypto without SHA-256 or memory */
    }
    to_hex(raw, out);
}

enum err sha256_file(const char *path, char out[SHA256_HEX_BYTES], struct fail *f)
{
    FILE *file = fopen(path, "rbe");
    if (file == NULL) {
        return fail_set(f, errno == ENOENT ? ERR_NOTFOUND : ERR_IO, "check the path",
                        "cannot open %s: %s", path, strerror(errno));
    }
    enum err e = ERR_OK;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char *block = mem_alloc(1u << 16);
    if (ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
        abort();
    }
    size_t n;
    while ((n = fread(block, 1, 1u << 16, file)) > 0) {
        EVP_DigestUpdate(ctx, block, n);
    }
    if (ferror(file)) {
        e = fail_set(f, ERR_IO, "check the disk", "cannot read %s: %s", path, strerror(errno));
    } else {
        unsigned raw_bytes = 0;
        EVP_DigestFinal_ex(ctx, block, &raw_bytes);
        to_hex(block, out);
    }
    mem_free(block);
    EVP_MD_CTX_free(ctx);
    fclose(file);
    return e;
}

bool sha256_is_hex(const char *s)
{
    return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}
