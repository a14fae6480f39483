/* topology/catalog.h - what the model knows about PE code: descriptions, never the code itself.
 *
 * Owns:       struct catalog, a set of struct pe_desc read from the JSON of pe/registry.h.
 * Runs on:    anywhere; pure after catalog_add.
 * Why:        the model is checked by machines that must not load foreign code (master, editor). */
#ifndef OXB_TOPOLOGY_CATALOG_H
#define OXB_TOPOLOGY_CATALOG_H

#include "core/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct param_desc {
    char *name;
    char *type;         /* "i64", "enum", ... as in pe/registry.h */
    bool required;
    bool writes;        /* a file of its host that the PE writes: OXB_WRITES */
    json_t *fallback;   /* NULL: none */
    char **choices;
    unsigned choice_count;
    double min, max;    /* both 0: unbounded */
    char *doc;
};

struct port_desc {
    char *name;
    char *schema;       /* expression of pe/pe.h; NULL: any */
    char *doc;
};

struct pe_desc {
    char *name;
    char *doc;
    bool source, many, replayable, own_thread, local, effects, merges;
    bool stateful;      /* has keyed tables */
    bool snapshots;     /* has state besides them, which cannot be divided */
    bool commits;       /* what its snapshots cover shows outside when the checkpoint is complete */
    bool migrates;      /* turns keyed entries of an older state_version into its own */
    uint32_t state_version;
    struct param_desc *params;
    unsigned param_count;
    struct port_desc *inputs, *outputs;
    unsigned input_count, output_count;
    json_t *json;       /* the whole description, as it came */
};

struct catalog;
struct catalog *catalog_new(void);
void catalog_free(struct catalog *c);
/* catalog_add - descriptions from a JSON array (or one object).
 * @file: NULL for types known by name; else the `use:` path whose plug-in they stand in, so that
 *        `./parse.so` finds the first and `./parse.so:words` the one called words.
 * @digest: 64 hex digits of the plug-in's SHA-256, or NULL. */
MUST_CHECK enum err catalog_add(struct catalog *c, const char *json, const char *file,
                                const char *digest, struct fail *f);
const struct pe_desc *catalog_find(const struct catalog *c, const char *use,
                                   const char **digest /* may be NULL */);
/* catalog_nearest - a known name close to `use`, for hints; NULL. */
const char *catalog_nearest(const struct catalog *c, const char *use);
void catalog_each(const struct catalog *c, void (*fn)(void *arg, const struct pe_desc *d),
                  void *arg);

/* What a PE would get: for who knows its code. */
struct catalog_wiring {
    const char *use;
    const char *params;   /* canonical JSON, defaults filled in */
    const char *in;       /* schema of input port 0 */
    const char *declared; /* of `out:`; NULL: none */
    const char *out;      /* of output port 0; NULL: none, or not known */
};
/* A refusal is ERR_INVALID with `f` set. */
typedef enum err (*catalog_check_fn)(const struct catalog_wiring *w, struct fail *f);
/* catalog_set_check - from now on every PE whose input is known is shown to `fn`, which runs code
 * and reads files: for tools at the user's side, not for the master. */
void catalog_set_check(struct catalog *c, catalog_check_fn fn);
/* catalog_check - ERR_OK also where nobody was set to ask. */
MUST_CHECK enum err catalog_check(const struct catalog *c, const struct catalog_wiring *w,
                                  struct fail *f);

#endif
