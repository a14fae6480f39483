/* tests/unit/topology/model_fixture.h - from YAML text to a topology in one call. */
#ifndef OXB_TESTS_MODEL_FIXTURE_H
#define OXB_TESTS_MODEL_FIXTURE_H

#include "tests/unit/topology/catalog_fixture.h"
#include "topology/physical.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* must_parse - the topology; fails the test with the problems when there are any. */
static inline struct topology *must_parse(const struct catalog *c, const char *yaml)
{
    struct diags d = {0};
    struct topology *t = topology_parse(yaml, strlen(yaml), "/base", c, &d);
    if (t == NULL) {
        char *text = diags_text(&d, "yaml");
        fail_msg("%s%s", text, yaml);
    }
    diags_fini(&d);
    return t;
}

static inline int fixture_set_up(void **state)
{
    *state = fixture_catalog();
    return 0;
}

static inline int fixture_tear_down(void **state)
{
    catalog_free(*state);
    return 0;
}

#endif
