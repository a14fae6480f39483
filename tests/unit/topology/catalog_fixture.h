/* tests/unit/topology/catalog_fixture.h - a catalogue like the built-in PEs and one plug-in, by
 * hand, so that the model's tests need no PE code. */
#ifndef OXB_TESTS_CATALOG_FIXTURE_H
#define OXB_TESTS_CATALOG_FIXTURE_H

#include "topology/catalog.h"

#include <stdlib.h>

#define FIXTURE_DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

#define FIXTURE_IN "\"inputs\":[{\"name\":\"in\",\"schema\":null}]"
#define FIXTURE_PASS "\"outputs\":[{\"name\":\"out\",\"schema\":\"*\"}]"
#define FIXTURE_FORMAT "\"schema\":\"?format=lines(line: str), ?format!=lines(declared)\""
#define FIXTURE_SINK_FORMAT                                                                        \
    "{\"name\":\"format\",\"type\":\"enum\",\"choices\":[\"jsonl\",\"tsv\"],\"default\":"          \
    "\"jsonl\"}"

static const char *const fixture_sources[] = {
    "{\"name\":\"sequence\",\"source\":true,\"replayable\":true,\"state_version\":1,\"params\":["
    "{\"name\":\"count\",\"type\":\"i64\",\"min\":0,\"max\":9e15},"
    "{\"name\":\"rate\",\"type\":\"f64\",\"min\":0.001,\"max\":1e9},"
    "{\"name\":\"start\",\"type\":\"i64\",\"default\":0},"
    "{\"name\":\"keys\",\"type\":\"i64\",\"default\":1,\"min\":1,\"max\":9e15},"
    "{\"name\":\"bytes\",\"type\":\"i64\",\"default\":0,\"min\":0,\"max\":1048576}],"
    "\"inputs\":[],\"outputs\":[{\"name\":\"out\",\"schema\":"
    "\"seq: i64, key: i64, at: time, ?bytes(pad: bytes)\"}],\"states\":[]}",

    "{\"name\":\"file-source\",\"source\":true,\"replayable\":true,\"own_thread\":true,"
    "\"local\":true,\"state_version\":1,\"params\":["
    "{\"name\":\"path\",\"type\":\"path\",\"required\":true},"
    "{\"name\":\"format\",\"type\":\"enum\",\"choices\":[\"lines\",\"jsonl\",\"csv\"],"
    "\"default\":\"lines\"},{\"name\":\"follow\",\"type\":\"bool\",\"default\":false},"
    "{\"name\":\"rate\",\"type\":\"f64\",\"min\":0.001,\"max\":1e9},"
    "{\"name\":\"repeat\",\"type\":\"i64\",\"default\":1,\"min\":1,\"max\":9e15}],"
    "\"inputs\":[],\"outputs\":[{\"name\":\"out\"," FIXTURE_FORMAT "}]}",

    "{\"name\":\"tcp-source\",\"source\":true,\"local\":true,\"state_version\":1,\"params\":["
    "{\"name\":\"listen\",\"type\":\"address\",\"required\":true},"
    "{\"name\":\"format\",\"type\":\"enum\",\"choices\":[\"lines\",\"jsonl\"],"
    "\"default\":\"lines\"},"
    "{\"name\":\"line_max\",\"type\":\"size\",\"default\":\"1MiB\",\"min\":1,\"max\":16777216}],"
    "\"inputs\":[],\"outputs\":[{\"name\":\"out\"," FIXTURE_FORMAT "}]}",
};

static const char *const fixture_transforms[] = {
    "{\"name\":\"words\",\"many\":true,\"state_version\":1,\"params\":["
    "{\"name\":\"field\",\"type\":\"field\",\"default\":\"line\"}],"
    "\"inputs\":[{\"name\":\"in\",\"schema\":\"$field: str\"}],"
    "\"outputs\":[{\"name\":\"out\",\"schema\":\"word: str\"}]}",

    "{\"name\":\"set\",\"state_version\":1,\"params\":["
    "{\"name\":\"fields\",\"type\":\"map\",\"required\":true}]," FIXTURE_IN ","
    "\"outputs\":[{\"name\":\"out\",\"schema\":\"*, +fields\"}]}",

    "{\"name\":\"filter\",\"state_version\":1,\"params\":["
    "{\"name\":\"field\",\"type\":\"field\",\"required\":true},"
    "{\"name\":\"eq\",\"type\":\"any\"},{\"name\":\"ne\",\"type\":\"any\"},"
    "{\"name\":\"lt\",\"type\":\"any\"},{\"name\":\"le\",\"type\":\"any\"},"
    "{\"name\":\"gt\",\"type\":\"any\"},{\"name\":\"ge\",\"type\":\"any\"},"
    "{\"name\":\"match\",\"type\":\"str\"}]," FIXTURE_IN "," FIXTURE_PASS "}",

    "{\"name\":\"count\",\"state_version\":1,\"params\":["
    "{\"name\":\"by\",\"type\":\"fields\",\"required\":true},"
    "{\"name\":\"emit\",\"type\":\"enum\",\"choices\":[\"each\",\"final\"],\"default\":\"each\"}]"
    "," FIXTURE_IN ",\"outputs\":[{\"name\":\"out\",\"schema\":\"$by, count: i64\"}],"
    "\"states\":[{\"name\":\"counts\",\"values\":[{\"name\":\"count\",\"type\":\"i64\"}]}]}",

    "{\"name\":\"sum\",\"state_version\":1,\"params\":["
    "{\"name\":\"by\",\"type\":\"fields\",\"required\":true},"
    "{\"name\":\"field\",\"type\":\"field\",\"required\":true},"
    "{\"name\":\"emit\",\"type\":\"enum\",\"choices\":[\"each\",\"final\"],\"default\":\"each\"}],"
    "\"inputs\":[{\"name\":\"in\",\"schema\":\"$field: i64|f64\"}],"
    "\"outputs\":[{\"name\":\"out\",\"schema\":\"$by, sum: $field\"}],"
    "\"states\":[{\"name\":\"sums\",\"values\":[{\"name\":\"sum\",\"type\":\"f64\"}]}]}",

    "{\"name\":\"delay\",\"state_version\":1,\"params\":["
    "{\"name\":\"us\",\"type\":\"i64\",\"default\":0,\"min\":0,\"max\":60000000},"
    "{\"name\":\"mode\",\"type\":\"enum\",\"choices\":[\"busy\",\"sleep\"],\"default\":\"busy\"}]"
    "," FIXTURE_IN "," FIXTURE_PASS "}",

    "{\"name\":\"union\",\"merges\":true,\"state_version\":1,\"params\":[]," FIXTURE_IN
    "," FIXTURE_PASS "}",

    "{\"name\":\"window\",\"state_version\":2,\"params\":["
    "{\"name\":\"every\",\"type\":\"duration\",\"default\":\"1s\",\"min\":1000,\"max\":3600000000}]"
    ","
    "\"inputs\":[{\"name\":\"in\",\"schema\":\"at: "
    "time\"},{\"name\":\"rules\",\"schema\":null}]," FIXTURE_PASS "}",
};

static const char *const fixture_sinks[] = {
    "{\"name\":\"file-sink\",\"own_thread\":true,\"local\":true,\"effects\":true,\"merges\":true,"
    "\"state_version\":1,\"params\":[{\"name\":\"path\",\"type\":\"path\",\"required\":true}"
    "," FIXTURE_SINK_FORMAT ",{\"name\":\"commit\",\"type\":\"enum\",\"choices\":[\"checkpoint\","
    "\"flush\"],\"default\":\"checkpoint\"}]," FIXTURE_IN ",\"outputs\":[]}",

    "{\"name\":\"tcp-sink\",\"own_thread\":true,\"effects\":true,\"merges\":true,"
    "\"state_version\":1,\"params\":[{\"name\":\"to\",\"type\":\"address\",\"required\":true}"
    "," FIXTURE_SINK_FORMAT "]," FIXTURE_IN ",\"outputs\":[]}",

    "{\"name\":\"stdout-sink\",\"own_thread\":true,\"effects\":true,\"merges\":true,"
    "\"state_version\":1,\"params\":[" FIXTURE_SINK_FORMAT "]," FIXTURE_IN ",\"outputs\":[]}",

    "{\"name\":\"null-sink\",\"merges\":true,\"state_version\":1,\"params\":[]," FIXTURE_IN
    ",\"outputs\":[]}",
};

static const char fixture_plugin[] =
    "[{\"name\":\"parse\",\"state_version\":1,\"params\":[],\"inputs\":[{\"name\":\"in\","
    "\"schema\":\"line: str\"}],\"outputs\":[{\"name\":\"out\",\"schema\":\"declared\"},"
    "{\"name\":\"errors\",\"schema\":\"line: str, why: str\"}]},"
    "{\"name\":\"reparse\",\"state_version\":1,\"params\":[]," FIXTURE_IN "," FIXTURE_PASS "}]";

static inline void fixture_add(struct catalog *c, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct fail f;
        if (catalog_add(c, list[i], NULL, NULL, &f) != ERR_OK) {
            abort();
        }
    }
}

static inline struct catalog *fixture_catalog(void) /* free with catalog_free */
{
    struct catalog *c = catalog_new();
    struct fail f;
    fixture_add(c, fixture_sources, sizeof fixture_sources / sizeof fixture_sources[0]);
    fixture_add(c, fixture_transforms, sizeof fixture_transforms / sizeof fixture_transforms[0]);
    fixture_add(c, fixture_sinks, sizeof fixture_sinks / sizeof fixture_sinks[0]);
    if (catalog_add(c, fixture_plugin, "./parse.so", FIXTURE_DIGEST, &f) != ERR_OK) {
        abort();
    }
    return c;
}

#endif
