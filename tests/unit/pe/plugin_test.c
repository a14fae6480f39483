/* tests/unit/pe/plugin_test.c - plug-ins: loaded, refused, described by a child.
 *
 * Goal:   a good plug-in loads once per file and runs; each kind of bad one is refused with a text
 *         that says why; one that crashes or hangs while it is described harms nobody.
 * Method: sources written here are compiled with cc into a temporary folder; this program itself
 *         is the child that describes (see main). */
#include "core/mem.h"
#include "pe/registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/oxbow-plugin-XXXXXX"; /* tidy: made and removed by main */
static char self_path[4096];                    /* tidy: set once, by main */

static const char good_source[] =
    "#include \"pe/pe.h\"\n"
    "static bool big(struct oxb_pe *pe, const struct oxb_batch *in, uint32_t i)\n"
    "{ return oxb_i64s(in, 0)[i] >= oxb_param_i64(pe, \"least\"); }\n"
    "OXB_FILTER(process, big)\n"
    "static const struct oxb_param params[] = {{\"least\", OXB_P_I64, 0, \"10\", 0, 0, 0, \"d\"},"
    " {\"mode\", OXB_P_ENUM, 0, \"a\", \"a b\", 0, 0, 0}, {\"wait\", OXB_P_DURATION, 0, \"5ms\"},"
    " {0}};\n"
    "static const struct oxb_port out[] = {{\"out\", \"*\", \"what is big\"}, {0}};\n"
    "static const struct oxb_value cells[] = {{\"n\", OXB_I64}, {0}};\n"
    "static const struct oxb_state_decl states[] = {{\"seen\", cells}, {0}};\n"
    "static const struct oxb_pe_type one = {.abi = OXB_ABI, .name = \"big\", .doc = \"keeps\","
    " .params = params, .outputs = out, .states = states, .state_version = 3,"
    " .process = process};\n"
    "static const struct oxb_pe_type two = {.abi = OXB_ABI, .name = \"any\", .flags = OXB_MANY,"
    " .state_version = 1, .process = process};\n"
    "OXB_EXPORT const struct oxb_pe_type *const oxb_pes[] = {&one, &two, 0};\n";

static char *path_of(const char *name)
{
    return mem_printf("%s/%s", dir, name);
}

static char *build(const char *name, const char *source)
{
    char *c = mem_printf("%s/%s.c", dir, name);
    char *so = mem_printf("%s/%s.so", dir, name);
    FILE *f = fopen(c, "w");
    assert_non_null(f);
    fputs(source, f);
    fclose(f);
    char *command = mem_printf("cc -shared -fPIC -I. %s -o %s", c, so);
    assert_int_equal(system(command), 0);
    mem_free(command);
    mem_free(c);
    return so;
}

static void refused(const char *name, const char *source, const char *mention)
{
    char *so = build(name, source);
    struct plugin *p = NULL;
    struct fail f = {0};
    assert_int_not_equal(plugin_open(so, &p, &f), ERR_OK);
    if (strstr(f.what, mention) == NULL) {
        fail_msg("`%s` lacks `%s`", f.what, mention);
    }
    assert_int_not_equal(f.hint[0], 0);
    mem_free(so);
}

static void good_plugin_loads_once_and_runs(void **state)
{
    (void)state;
    char *so = build("good", good_source);
    char *other = path_of("other.so");
    assert_int_equal(link(so, other), 0);
    struct plugin *p = NULL, *q = NULL;
    struct fail f = {0};
    assert_int_equal(plugin_open(so, &p, &f), ERR_OK);
    assert_int_equal(plugin_open(other, &q, &f), ERR_OK);
    assert_ptr_equal(p, q);
    const struct oxb_pe_type *type = plugin_find(p, "big");
    assert_ptr_equal(type, plugin_find(p, NULL));
    assert_non_null(plugin_find(p, "any"));
    assert_null(plugin_find(p, "none"));
    plugin_close(q);
    char err[256] = "";
    struct oxb_harness *h = oxb_harness_new(type, "{}", "n: i64", NULL, err, sizeof err);
    assert_string_equal(err, "");
    assert_int_equal(oxb_harness_feed(h, "{\"n\":9}\n{\"n\":10}"), OXB_OK);
    assert_string_equal(oxb_harness_output(h, 0), "{\"n\":10}\n");
    oxb_harness_free(h);
    plugin_close(p);
    mem_free(so);
    mem_free(other);
}

static void bad_plugins_are_refused_with_the_reason(void **state)
{
    (void)state;
    refused("empty", "int x;\n", "exports no PE types");
    refused("abi",
            "#include \"pe/pe.h\"\nOXB_EXPORT const struct oxb_pe_type oxb_pe = "
            "{.abi = 7u << 16 | 2};\n",
            "version 7.2 of the SDK");
    refused("later",
            "#include \"pe/pe.h\"\nOXB_EXPORT const struct oxb_pe_type oxb_pe = "
            "{.abi = OXB_ABI + 1, .name = \"x\"};\n",
            "this engine has");
    refused("noproc",
            "#include \"pe/pe.h\"\nOXB_EXPORT const struct oxb_pe_type oxb_pe = "
            "{.abi = OXB_ABI, .name = \"x\"};\n",
            "lacks `process`");
    refused("noname",
            "#include \"pe/pe.h\"\nOXB_EXPORT const struct oxb_pe_type oxb_pe = "
            "{.abi = OXB_ABI, .name = \"X y\"};\n",
            "bad name");
    refused("undefined",
            "void missing_function(void);\n__attribute__((constructor)) "
            "static void f(void) { missing_function(); }\n",
            "missing_function");
    struct plugin *p = NULL;
    struct fail f = {0};
    assert_int_equal(plugin_open("/nonexistent/x.so", &p, &f), ERR_NOTFOUND);
    assert_int_equal(plugin_open("x.so", &p, &f), ERR_INVALID);
}

static void description_comes_from_a_child(void **state)
{
    (void)state;
    char *so = path_of("good.so");
    char *json = NULL;
    struct fail f = {0};
    assert_int_equal(describe_plugin(self_path, so, &json, &f), ERR_OK);
    char abi[32];
    snprintf(abi, sizeof abi, "\"abi\":[%u,%u]", OXB_ABI_MAJOR, OXB_ABI_MINOR);
    const char *const parts[] = {
        "\"name\":\"big\"",
        "\"name\":\"any\",",
        abi,
        "\"default\":10",
        "\"choices\":[\"a\",\"b\"]",
        "\"type\":\"duration\"",
        "\"default\":\"5ms\"",
        "\"many\":true",
        "\"state_version\":3",
        "\"inputs\":[{\"name\":\"in\",\"schema\":null",
        "\"outputs\":[{\"name\":\"out\",\"schema\":\"*\",\"doc\":\"what is big\"}]",
        "\"states\":[{\"name\":\"seen\",\"values\":[{\"name\":\"n\",\"type\":\"i64\"}]}]"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (strstr(json, parts[i]) == NULL) {
            fail_msg("%s lacks %s", json, parts[i]);
        }
    }
    free(json);
    mem_free(so);
}

static void not_described(const char *name, const char *source, enum err code, const char *mention)
{
    char *so = build(name, source);
    char *json = NULL;
    struct fail f = {0};
    assert_int_equal(describe_plugin(self_path, so, &json, &f), code);
    assert_null(json);
    if (strstr(f.what, mention) == NULL) {
        fail_msg("`%s` lacks `%s`", f.what, mention);
    }
    mem_free(so);
}

static void crashing_and_hanging_plugins_become_error_texts(void **state)
{
    (void)state;
    not_described("crash",
                  "#include <signal.h>\n#include <unistd.h>\n"
                  "__attribute__((constructor)) static void f(void)"
                  " { signal(SIGSEGV, SIG_DFL); kill(getpid(), SIGSEGV); pause(); }\n",
                  ERR_INVALID, "crashed while it was described: Segmentation fault");
    not_described("exits",
                  "#include <stdlib.h>\n__attribute__((constructor)) static void f(void)"
                  " { _Exit(0); }\n",
                  ERR_INVALID, "no JSON array");
    not_described("loud",
                  "#include <stdio.h>\n__attribute__((constructor)) static void f(void)"
                  " { for (int i = 0; i < 9000; i++) puts(\"0123456789\"); }\n",
                  ERR_LIMIT, "64 KiB");
    not_described("hangs",
                  "#include <unistd.h>\n__attribute__((constructor)) static void f(void)"
                  " { close(1); close(2); for (;;) pause(); }\n",
                  ERR_TIMEOUT, "more than 5 s");
    not_described("notpe", "int x;\n", ERR_INVALID, "exports no PE types");
}

static void types_register_once(void **state)
{
    (void)state;
    struct oxb_pe_type *bad = mem_alloc(sizeof *bad);
    assert_int_equal(oxb_register(bad), -1);
    mem_free(bad);
    assert_int_equal(oxb_collector_new("unit-collector", NULL, NULL), 0);
    assert_int_equal(oxb_collector_new("unit-collector", NULL, NULL), -1);
    assert_non_null(registry_find("unit-collector"));
    assert_null(registry_find("nothing"));
    char *all = describe_builtins();
    assert_non_null(strstr(all, "unit-collector"));
    free(all);
}

static unsigned mappings(const char *file)
{
    char line[4096 + 100];
    unsigned count = 0;
    FILE *f = fopen("/proc/self/maps", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        count += strstr(line, file) != NULL ? 1 : 0;
    }
    fclose(f);
    return count;
}

static void what_nobody_refers_to_is_unloaded(void **state)
{
    (void)state;
    struct fail f = {0};
    struct plugin *a = NULL, *b = NULL;
    char *so = build("gone", good_source);
    struct plugin_counts before = plugin_counts();
    assert_int_equal(plugin_open(so, &a, &f), ERR_OK);
    assert_int_equal(plugin_open(so, &b, &f), ERR_OK);
    assert_int_equal(plugin_counts().loaded, before.loaded + 1);
    plugin_close(a);
    assert_true(mappings(so) > 0);
    plugin_close(b);
    assert_int_equal(mappings(so), 0);
    assert_int_equal(plugin_counts().loaded, before.loaded);
    assert_int_equal(plugin_counts().kept, before.kept);
    mem_free(so);
}

static void what_cannot_be_unloaded_is_counted(void **state)
{
    (void)state;
    struct fail f = {0};
    struct plugin *p = NULL;
    char *c = path_of("stays.c"), *so = path_of("stays.so");
    FILE *out = fopen(c, "w");
    fputs(good_source, out);
    fclose(out);
    char *command = mem_printf("cc -shared -fPIC -I. -Wl,-z,nodelete %s -o %s", c, so);
    assert_int_equal(system(command), 0);
    unsigned before = plugin_counts().kept;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(plugin_open(so, &p, &f), ERR_OK);
        assert_int_equal(plugin_counts().kept, before);
        plugin_close(p);
        assert_int_equal(plugin_counts().kept, before + 1); /* once, not three times */
        assert_true(mappings(so) > 0);
    }
    mem_free(command);
    mem_free(c);
    mem_free(so);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--describe-plugin") == 0) {
        return describe_plugin_main(argv[2]);
    }
    ssize_t n = readlink("/proc/self/exe", self_path, sizeof self_path - 1);
    if (n <= 0 || mkdtemp(dir) == NULL) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_plugin_loads_once_and_runs),
        cmocka_unit_test(bad_plugins_are_refused_with_the_reason),
        cmocka_unit_test(description_comes_from_a_child),
        cmocka_unit_test(crashing_and_hanging_plugins_become_error_texts),
        cmocka_unit_test(types_register_once),
        cmocka_unit_test(what_nobody_refers_to_is_unloaded),
        cmocka_unit_test(what_cannot_be_unloaded_is_counted),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char *command = mem_printf("rm -rf %s", dir);
    failed += system(command) != 0 ? 1 : 0;
    mem_free(command);
    return failed;
}
