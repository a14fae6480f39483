/* tests/fuzz/messages_fuzz.c - libFuzzer: any bytes at the control-message decoder.
 *
 * Goal:   no crash, no leak, no large allocation; and what was decoded survives a round trip.
 * Method: two bytes choose the kind (little-endian, as in a frame head), the rest is the body.
 *         decode -> encode -> decode -> encode: both encodings are the same bytes.
 * Run:    clang -fsanitize=fuzzer,address; -rss_limit_mb=256 -malloc_limit_mb=16 -max_len=70000
 *         tests/fuzz/corpus/messages */
#include "core/strbuf.h"
#include "net/frame.h"
#include "net/messages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "property broken: %s\n", what);
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct msg first, second;
    struct strbuf once = {0}, twice = {0};
    if (bytes < 2 ||
        msg_decode(data[0] | (unsigned)data[1] << 8, data + 2, bytes - 2, &first, NULL) != ERR_OK) {
        return 0;
    }
    free(msg_text(&first));
    if (msg_encode(&first, &once) == ERR_OK) { /* else: short records became full ones */
        require(msg_decode(first.kind, once.data + FRAME_HEAD_BYTES, once.bytes - FRAME_HEAD_BYTES,
                           &second, NULL) == ERR_OK,
                "what was encoded is decoded");
        require(msg_encode(&second, &twice) == ERR_OK, "and encoded again");
        require(once.bytes == twice.bytes && memcmp(once.data, twice.data, once.bytes) == 0,
                "both encodings are the same");
        msg_free(&second);
    }
    strbuf_fini(&once);
    strbuf_fini(&twice);
    msg_free(&first);
    return 0;
}
