/* core/sha256.h - SHA-256 (OpenSSL's libcrypto) as 64 hex digits: names artifacts and content. */
#ifndef OXB_CORE_SHA256_H
#define OXB_CORE_SHA256_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>

#define SHA256_HEX_BYTES 65 /* with the NUL */

void sha256_hex(const void *data, size_t bytes, char out[SHA256_HEX_BYTES]);
MUST_CHECK enum err sha256_file(const char *path, char out[SHA256_HEX_BYTES], struct fail *f);
bool sha256_is_hex(const char *s); /* exactly 64 lower-case hex digits */

#endif
