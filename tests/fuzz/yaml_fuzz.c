/* tests/fuzz/yaml_fuzz.c - no text, however hostile, harms the reader of topologies.
 *
 * Goal:   YAML -> topology -> physical graph on three workers -> drawings ends without a fault, a
 *         leak or a hang, and keeps the promises of model.h.
 * Method: libFuzzer; seeds in tests/fuzz/corpus/yaml.  Build all of core/ and topology/ with
 *         clang -fsanitize=fuzzer,address. */
#include "tests/unit/topology/catalog_fixture.h"
#include "topology/physical.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void expand(const struct topology *t)
{
    struct worker_info workers[3] = {{.slots = 64, .host = "a"},
                                     {.slots = 8, .host = "b"},
                                     {.slots = 30, .slots_used = 4, .host = "a"}};
    uint64_t id = 1;
    struct fail f;
    for (unsigned i = 0; i < 3; i++) {
        snprintf(workers[i].name, sizeof workers[i].name, "w%u", i);
    }
    struct pgraph *g = physical_expand(t, workers, 3, &placer_default, &id, &f);
    char *(*const drawings[])(const struct topology *, const struct pgraph *) = {
        graph_text, graph_dot, graph_svg, graph_json};
    for (unsigned i = 0; i < 4; i++) {
        char *drawing = drawings[i](t, g);
        require(drawing != NULL);
        free(drawing);
    }
    pgraph_free(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct catalog *catalog; /* made once: reading it would be most of the work */
    if (catalog == NULL) {
        catalog = fixture_catalog();
    }
    struct diags d = {0};
    struct topology *t = topology_parse((const char *)data, bytes, "/base", catalog, &d);
    require((t == NULL) == (d.errors > 0));
    require(d.count <= DIAGS_MAX);
    char *text = diags_text(&d, "f");
    free(text);
    diags_fini(&d);
    if (t != NULL) {
        require(t->canonical != NULL && strlen(t->digest) == 64);
        expand(t);
    }
    topology_free(t);
    json_decref(topology_files((const char *)data, bytes, &d));
    diags_fini(&d);
    return 0;
}
