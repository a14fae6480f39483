/* tests/unit/net/prescan_test.c - nothing harmful passes the pre-scan, nothing honest is stopped.
 *
 * Goal:   lying lengths, depth, floods of values, extension types, cut and doubled values are all
 *         refused without an allocation; whatever passes is one value to msgpack-c as well.
 * Method: hand-made bytes, then many random ones, judged by msgpack-c as an independent reader:
 *         random values it packed must pass, random bytes that pass it must unpack. */
#include "core/limits.h"
#include "core/mem.h"
#include "core/prng.h"
#include "net/messages.h"
#include "net/value.h"

#include <msgpack.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static enum err scan(const char *data, size_t bytes)
{
    char *exact = mem_alloc(bytes); /* its own block, so that a read beyond is seen */
    memcpy(exact, data, bytes);
    enum err e = msgpack_prescan(exact, bytes, FRAME_DEPTH_MAX, FRAME_OBJECTS_MAX);
    mem_free(exact);
    return e;
}
#define SCAN(text) scan(text, sizeof text - 1)

static void every_type_of_value_passes(void **state)
{
    (void)state;
    assert_int_equal(SCAN("\x00"), ERR_OK);
    assert_int_equal(SCAN("\xE0"), ERR_OK);
    assert_int_equal(SCAN("\xC0"), ERR_OK);
    assert_int_equal(SCAN("\xC3"), ERR_OK);
    assert_int_equal(SCAN("\xCA\x01\x02\x03\x04"), ERR_OK);
    assert_int_equal(SCAN("\xCB\x01\x02\x03\x04\x05\x06\x07\x08"), ERR_OK);
    assert_int_equal(SCAN("\xA2hi"), ERR_OK);
    assert_int_equal(SCAN("\xD9\x02hi"), ERR_OK);
    assert_int_equal(SCAN("\xDA\x00\x02hi"), ERR_OK);
    assert_int_equal(SCAN("\xDB\x00\x00\x00\x02hi"), ERR_OK);
    assert_int_equal(SCAN("\xC4\x01x"), ERR_OK);
    assert_int_equal(SCAN("\x93\x01\x90\x80"), ERR_OK);
    assert_int_equal(SCAN("\xDD\x00\x00\x00\x01\x01"), ERR_OK);
    assert_int_equal(SCAN("\x82\x01\x91\x02\xA1k\xC0"), ERR_OK);
}

static void a_length_beyond_the_bytes_left_is_refused(void **state)
{
    (void)state;
    assert_int_equal(SCAN("\xDB\xFF\xFF\xFF\xFFhi"), ERR_INVALID); /* text of 4 GiB */
    assert_int_equal(SCAN("\xC6\xFF\xFF\xFF\xFFhi"), ERR_INVALID);
    assert_int_equal(SCAN("\xDD\xFF\xFF\xFF\xFF\x01"), ERR_INVALID); /* array of 4 G values */
    assert_int_equal(SCAN("\xDF\xFF\xFF\xFF\xFF\x01"), ERR_INVALID);
    assert_int_equal(SCAN("\xDF\x80\x00\x00\x00\x01\x01"), ERR_INVALID); /* 2 x 2^31 */
    assert_int_equal(SCAN("\x92\x01"), ERR_INVALID);
    assert_int_equal(SCAN("\x81\x01"), ERR_INVALID);
    assert_int_equal(SCAN("\xA2h"), ERR_INVALID);
    /* every level claims all that is left: each alone could be true, together they cannot */
    assert_int_equal(SCAN("\x93\x93\x93\x01\x01\x01\x01"), ERR_INVALID);
    assert_int_equal(SCAN("\x93\x93\x93\x01\x01\x01\x01\x01\x01\x01"), ERR_OK);
}

static void what_is_not_exactly_one_value_is_refused(void **state)
{
    (void)state;
    assert_int_equal(scan("", 0), ERR_INVALID);
    assert_int_equal(SCAN("\x01\x01"), ERR_INVALID);
    assert_int_equal(SCAN("\x91\x01\x01"), ERR_INVALID);
    assert_int_equal(SCAN("\xCD\x01"), ERR_INVALID);
}

static void extension_types_and_the_reserved_byte_are_refused(void **state)
{
    (void)state;
    assert_int_equal(SCAN("\xC1"), ERR_INVALID);
    assert_int_equal(SCAN("\xC7\x01\x05x"), ERR_INVALID);
    assert_int_equal(SCAN("\xC8\x00\x01\x05x"), ERR_INVALID);
    assert_int_equal(SCAN("\xC9\x00\x00\x00\x01\x05x"), ERR_INVALID);
    for (char type = '\xD4'; type <= '\xD8'; type++) {
        char bytes[18] = {type, 5};
        assert_int_equal(scan(bytes, 2 + ((size_t)1 << (type - '\xD4'))), ERR_INVALID);
    }
}

static void depth_is_bounded_without_recursion(void **state)
{
    (void)state;
    enum { DEEP = 100000 };
    char *bytes = mem_alloc(DEEP);
    memset(bytes, '\x91', DEEP);
    assert_int_equal(scan(bytes, DEEP), ERR_LIMIT);
    bytes[FRAME_DEPTH_MAX] = 1;
    assert_int_equal(scan(bytes, FRAME_DEPTH_MAX + 1), ERR_OK);
    bytes[FRAME_DEPTH_MAX] = '\x90';
    assert_int_equal(scan(bytes, FRAME_DEPTH_MAX + 1), ERR_LIMIT);
    memset(bytes, '\x81', DEEP);
    assert_int_equal(scan(bytes, DEEP), ERR_LIMIT);
    assert_int_equal(msgpack_prescan("\x01", 1, 0, 1), ERR_OK);
    assert_int_equal(msgpack_prescan("\x90", 1, 0, 1), ERR_LIMIT);
    mem_free(bytes);
}

static void the_number_of_values_is_bounded(void **state)
{
    (void)state;
    char *bytes = mem_alloc(FRAME_OBJECTS_MAX + 8);
    memcpy(bytes, "\xDD\x00\x00\xFF\xFF", 5);
    assert_int_equal(scan(bytes, 5 + 65535), ERR_OK); /* the array itself counts */
    memcpy(bytes, "\xDD\x00\x01\x00\x00", 5);
    assert_int_equal(scan(bytes, 5 + 65536), ERR_LIMIT);
    mem_free(bytes);
}

/* ---- msgpack-c as the judge ---- */
static void pack_random(msgpack_packer *to, struct prng *random, unsigned depth)
{
    uint64_t bits = prng_u64(random);
    size_t bytes = (size_t)prng_below(random, 300);
    char filler[300];
    memset(filler, 'a', sizeof filler);
    switch (prng_below(random, depth < 6 ? 9 : 7)) {
    case 0:
        msgpack_pack_nil(to);
        break;
    case 1:
        (bits % 2 == 0 ? msgpack_pack_true : msgpack_pack_false)(to);
        break;
    case 2:
        msgpack_pack_uint64(to, bits >> prng_below(random, 64));
        break;
    case 3:
        msgpack_pack_int64(to, -(int64_t)(bits >> (1 + prng_below(random, 63))));
        break;
    case 4:
        (bits % 2 == 0 ? msgpack_pack_double(to, 1.5) : msgpack_pack_float(to, -2.5F));
        break;
    case 5:
        msgpack_pack_str(to, bytes);
        msgpack_pack_str_body(to, filler, bytes);
        break;
    case 6:
        msgpack_pack_bin(to, bytes);
        msgpack_pack_bin_body(to, filler, bytes);
        break;
    case 7:
        msgpack_pack_array(to, bits % 5);
        for (size_t i = 0; i < bits % 5; i++) {
            pack_random(to, random, depth + 1);
        }
        break;
    default:
        msgpack_pack_map(to, bits % 3);
        for (size_t i = 0; i < bits % 3 * 2; i++) {
            pack_random(to, random, depth + 1);
        }
    }
}

static void whatever_msgpack_c_packs_passes_and_is_skipped_whole(void **state)
{
    (void)state;
    struct prng random = {1};
    for (int i = 0; i < 3000; i++) {
        msgpack_sbuffer out;
        msgpack_packer to;
        msgpack_sbuffer_init(&out);
        msgpack_packer_init(&to, &out, msgpack_sbuffer_write);
        pack_random(&to, &random, 0);
        assert_int_equal(scan(out.data, out.size), ERR_OK);
        struct value_reader r = {.at = (const uint8_t *)out.data, .left = out.size};
        assert_int_equal(value_skip(&r), ERR_OK);
        assert_int_equal(r.left, 0);
        assert_int_equal(scan(out.data, out.size - 1), ERR_INVALID);
        msgpack_sbuffer_destroy(&out);
    }
}

/* same_head - does our reader see in the first value what msgpack-c sees? */
static void assert_same_head(const char *bytes, size_t size, const msgpack_object *o)
{
    struct value_reader r = {.at = (const uint8_t *)bytes, .left = size};
    struct value v;
    assert_int_equal(value_next(&r, &v), ERR_OK);
    switch (o->type) {
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        assert_true(v.type == VALUE_UINT && v.number == o->via.u64);
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        assert_true(v.type == VALUE_INT && (int64_t)v.number == o->via.i64);
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        assert_true(v.type == VALUE_FLOAT && memcmp(&v.real, &o->via.f64, sizeof v.real) == 0);
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        assert_true(v.type == VALUE_FLAG && (v.number != 0) == o->via.boolean);
        break;
    case MSGPACK_OBJECT_NIL:
        assert_true(v.type == VALUE_NIL);
        break;
    case MSGPACK_OBJECT_STR:
        assert_true(v.type == VALUE_STR && v.bytes == o->via.str.size);
        break;
    case MSGPACK_OBJECT_BIN:
        assert_true(v.type == VALUE_BIN && v.bytes == o->via.bin.size);
        break;
    case MSGPACK_OBJECT_ARRAY:
        assert_true(v.type == VALUE_ARRAY && v.children == o->via.array.size);
        break;
    case MSGPACK_OBJECT_MAP:
        assert_true(v.type == VALUE_MAP && v.children == 2u * o->via.map.size);
        break;
    case MSGPACK_OBJECT_EXT:
    default:
        fail();
    }
}

static void random_bytes_that_pass_are_one_value_to_msgpack_c(void **state)
{
    (void)state;
    struct prng random = {2};
    unsigned passed = 0;
    for (int i = 0; i < 200000; i++) {
        char bytes[12];
        size_t size = 1 + (size_t)prng_below(&random, sizeof bytes);
        for (size_t k = 0; k < size; k++) {
            bytes[k] = (char)prng_u64(&random);
        }
        if (i % 2 == 0) { /* heads with a width: rare otherwise */
            bytes[0] = (char)(0xC0 | (prng_u64(&random) & 0x1F));
        }
        if (scan(bytes, size) == ERR_OK) {
            msgpack_unpacked whole;
            size_t end = 0;
            msgpack_unpacked_init(&whole);
            assert_int_equal(msgpack_unpack_next(&whole, bytes, size, &end),
                             MSGPACK_UNPACK_SUCCESS);
            assert_int_equal(end, size);
            assert_same_head(bytes, size, &whole.data);
            msgpack_unpacked_destroy(&whole);
            passed++;
        }
    }
    assert_true(passed > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_of_value_passes),
        cmocka_unit_test(a_length_beyond_the_bytes_left_is_refused),
        cmocka_unit_test(what_is_not_exactly_one_value_is_refused),
        cmocka_unit_test(extension_types_and_the_reserved_byte_are_refused),
        cmocka_unit_test(depth_is_bounded_without_recursion),
        cmocka_unit_test(the_number_of_values_is_bounded),
        cmocka_unit_test(whatever_msgpack_c_packs_passes_and_is_skipped_whole),
        cmocka_unit_test(random_bytes_that_pass_are_one_value_to_msgpack_c),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
