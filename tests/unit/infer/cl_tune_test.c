/* tests/unit/infer/cl_tune_test.c - the choice of tiles: tried once, kept, never fatal.
 *
 * Goal:   every candidate computes the same; the choice outlives the process; a file that is
 * damaged, foreign or cannot be written costs a trial, never a product. Method: PoCL's device; the
 * choice in the process is forgotten by hand, files are damaged. */
#include "core/file.h"
#include "core/mem.h"
#include "pe/infer/cl/program.h"
#include "pe/infer/cl/recipe.h"
#include "tests/support/cl_group.h"
#include "tests/support/step_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* 71 lines and 37 columns: every tile has a tail, whatever the lanes. */
static void check_product(void)
{
    struct step_case c;
    case_init(&c, cl_group_device(), 71, 3);
    case_input(&c, true, 2, (int64_t[]){71, 19});
    case_const(&c, 2, (int64_t[]){19, 37});
    case_output(&c, true, 2, (int64_t[]){71, 37});
    case_node(&c, "", "MatMul");
    case_check(&c, 71, 1e-5f, 2e-5f);
    case_check(&c, 70, 1e-5f, 2e-5f);
    case_fini(&c);
}

static void every_candidate_gives_the_same(void **state)
{
    (void)state;
    size_t count = 0;
    for (int kind = 0; kind < 2; kind++) {
        cl_group_device()->ocl->kind = kind == 0 ? OCL_CPU : OCL_GPU;
        cl_group_device()->ocl->synchronous = kind == 0;
        const struct tile *all = tune_candidates(cl_group_device()->ocl, &count);
        for (size_t i = 0; i < count; i++) {
            cl_group_device()->tile = &all[i];
            check_product();
        }
    }
    cl_group_device()->tile = NULL;
    cl_group_device()->ocl->kind = OCL_CPU;
    cl_group_device()->ocl->synchronous = true;
}

/* chosen - what a process that starts now would choose. */
static size_t chosen(void)
{
    size_t count = 0;
    const struct tile *all = tune_candidates(cl_group_device()->ocl, &count);
    cl_group_device()->tune = true;
    atomic_store(&cl_group_device()->ocl->tile, 0);
    struct tile t = tune_tile(cl_group_device());
    assert_int_not_equal(atomic_load(&cl_group_device()->ocl->tile), 0);
    size_t i = 0;
    while (i < count && memcmp(&t, &all[i], sizeof t) != 0) {
        i++;
    }
    assert_true(i < count);
    return i;
}

static void store(const char *text)
{
    char *path = tune_path(cl_group_device()->ocl, ocl_devices_cache_dir(cl_group_device()->all));
    ocl_cache_store(path, text, strlen(text));
    mem_free(path);
}

static bool is_kept(void)
{
    char *path = tune_path(cl_group_device()->ocl, ocl_devices_cache_dir(cl_group_device()->all)),
         *text = NULL;
    size_t bytes = 0;
    bool ok = ocl_cache_load(path, &text, &bytes) && bytes == 7 && strncmp(text, "tile ", 5) == 0 &&
              text[5] < '4' && text[6] == '\n';
    mem_free(text);
    mem_free(path);
    return ok;
}

/* On a busy machine a process may not come to the end of its trials; the next goes on from there.
 */
static void choose_for_good(void)
{
    for (int i = 0; i < 10 && !is_kept(); i++) {
        (void)chosen();
    }
    assert_true(is_kept());
}

static void without_tuning_the_rule_holds(void **state)
{
    (void)state;
    size_t count = 0;
    cl_group_device()->tune = false;
    atomic_store(&cl_group_device()->ocl->tile, 0);
    struct tile t = tune_tile(cl_group_device());
    assert_memory_equal(&t, &tune_candidates(cl_group_device()->ocl, &count)[0], sizeof t);
    assert_false(is_kept());
}

static void a_choice_outlives_the_process(void **state)
{
    (void)state;
    choose_for_good();
    for (unsigned i = 0; i < 4; i++) { /* what is found there is taken: nothing is tried */
        char *text = mem_printf("tile %u\n", i);
        store(text);
        mem_free(text);
        assert_int_equal(chosen(), i);
    }
    check_product();
}

static void what_is_not_a_choice_is_tried_anew_and_replaced(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",       "tile",      "tile 4\n",     "tile 99999999999\n",
                                        "tile 1", "tile -1\n", "tile 1\nmore", "something else\n"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        store(wrong[i]);
        choose_for_good();
    }
}

static void a_damaged_file_is_tried_anew_and_replaced(void **state)
{
    (void)state;
    char *path = tune_path(cl_group_device()->ocl, ocl_devices_cache_dir(cl_group_device()->all)),
         *whole = NULL;
    size_t bytes = 0;
    choose_for_good();
    assert_int_equal(file_read(path, 1u << 20, &whole, &bytes, NULL), ERR_OK);
    for (size_t i = 0; i < bytes; i += 5) {
        whole[i] ^= 0x10;
        assert_int_equal(file_write_safe(path, whole, bytes, NULL), ERR_OK);
        whole[i] ^= 0x10;
        choose_for_good();
    }
    const size_t lengths[] = {0, 7, 24, 30};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        assert_int_equal(file_write_safe(path, whole, lengths[i], NULL), ERR_OK);
        choose_for_good();
    }
    mem_free(whole);
    mem_free(path);
}

/* A folder lies where the file should be. */
static void what_cannot_be_written_lasts_as_long_as_the_process(void **state)
{
    (void)state;
    char *path = tune_path(cl_group_device()->ocl, ocl_devices_cache_dir(cl_group_device()->all));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)chosen();
    assert_false(is_kept());
    assert_int_equal(rmdir(path), 0);
    mem_free(path);
    check_product();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_tuning_the_rule_holds),
        cmocka_unit_test(every_candidate_gives_the_same),
        cmocka_unit_test(a_choice_outlives_the_process),
        cmocka_unit_test(what_is_not_a_choice_is_tried_anew_and_replaced),
        cmocka_unit_test(a_damaged_file_is_tried_anew_and_replaced),
        cmocka_unit_test(what_cannot_be_written_lasts_as_long_as_the_process),
    };
    return cmocka_run_group_tests_name("infer/cl_tune", tests, cl_group_open_cached,
                                       cl_group_close);
}
