/* master/types.h - which PE types a topology may use: descriptions, never code.
 *
 * Built-ins describe themselves; plug-ins are described once per digest, in a child process;
 * embedding workers bring theirs in HELLO.
 *
 * Owns:       struct types, the descriptions by digest.
 * Runs on:    the loop; types_describe on a helper thread (it waits for a child, 5 s at most). */
#ifndef OXB_MASTER_TYPES_H
#define OXB_MASTER_TYPES_H

#include "core/err.h"
#include "core/sha256.h"
#include "master/members.h"
#include "topology/catalog.h"

struct plugin_types {
    char digest[SHA256_HEX_BYTES];
    char *json;
};

struct types {
    char *builtins; /* JSON array */
    struct plugin_types *plugins;
    size_t count, capacity;
};

void types_init(struct types *t);
void types_fini(struct types *t);
const char *types_plugin(const struct types *t, const char *digest); /* NULL: not described yet */
void types_plugin_put(struct types *t, const char *digest, char *json TAKES);

/* types_describe - what is in the plug-in at `path`; caller frees *json.  Blocks: helper
 * threads only. */
MUST_CHECK enum err types_describe(const char *path, char **json, struct fail *f);

/* types_catalog - built-ins, what members registered, and the plug-ins of one topology.
 * @artifacts: JSON object, name in the YAML -> digest; those without a description are left out.
 * @record: what was added beside the built-ins, as JSON text for the store; caller frees. */
MUST_CHECK enum err types_catalog(const struct types *t, const struct members *ms,
                                  json_t *artifacts, struct catalog **out, char **record,
                                  struct fail *f);
/* types_catalog_again - the same from the record, after a restart. */
MUST_CHECK enum err types_catalog_again(const struct types *t, const char *record,
                                        struct catalog **out, struct fail *f);

/* types_json - every type known now, for GET /v1/pes; caller decrefs. */
json_t *types_json(const struct types *t, const struct members *ms);

#endif
