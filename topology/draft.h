/* topology/draft.h - a topology while it is read: the model and, beside it, where things stood.
 *
 * For the files that make a topology: parse*.c, params.c, check.c, resolve.c, digest.c. */
#ifndef OXB_TOPOLOGY_DRAFT_H
#define OXB_TOPOLOGY_DRAFT_H

#include "topology/schema.h"
#include "topology/yaml.h"

struct dpe {                  /* beside topology.pes[] */
    const struct ynode *with; /* NULL: absent */
    const struct ynode *out;
    const struct ynode *isolate;
    const struct ynode *device;
    bool params_bad; /* reported; what depends on parameters stays unknown */
};

struct dstream {            /* beside topology.streams[] until they are sorted */
    const struct ynode *by; /* NULL: absent */
};

struct draft {
    const struct catalog *catalog;
    const char *base_dir;
    struct diags *d;
    struct topology *t;
    struct dpe *pes;
    struct dstream *streams;
    bool ends_bad; /* some stream ends nowhere, which is reported */
};

/* ---- read.c: values of the kinds the format has; each reports what is wrong and returns false */

/* read_map - a mapping with known keys only; values[i] belongs to keys[i], NULL when absent. */
bool read_map(struct diags *d, const struct ynode *n, const char *what, const char *const *keys,
              size_t count, const struct ynode **values);
bool read_text(struct diags *d, const struct ynode *n, const char *what, const char **out);
bool read_name(struct diags *d, const struct ynode *n, const char *what, const char **out);
bool read_u32(struct diags *d, const struct ynode *n, const char *what, uint32_t min, uint32_t max,
              uint32_t *out);
bool read_size(struct diags *d, const struct ynode *n, const char *what, uint64_t max,
               uint64_t *out);
bool read_duration_us(struct diags *d, const struct ynode *n, const char *what, uint64_t min_us,
                      uint64_t *out);
bool read_bool(struct diags *d, const struct ynode *n, const char *what, bool *out);
bool read_choice(struct diags *d, const struct ynode *n, const char *what,
                 const char *const *choices, size_t count, unsigned *out);
bool check_name(struct diags *d, struct place_at at, const char *what, const char *name);

/* ---- the steps, in order */

void parse_pes(struct draft *dr, const struct ynode *n);     /* parse_pe.c */
void parse_streams(struct draft *dr, const struct ynode *n); /* parse_stream.c */
/* params_read - `with:` against the PE's table, defaults filled in. */
void params_read(struct draft *dr, struct pe *p, const struct dpe *at); /* params.c */
/* params_check_fields - parameters that name input fields, once the input is known. */
void params_check_fields(struct draft *dr, const struct pe *p, const struct dpe *at);
void check_topology(struct draft *dr); /* check.c */
void check_files(struct draft *dr);    /* files.c: one writer each */
/* ---- wiring.c
 * check_wiring - does its code take the parameters with what comes in?
 * place_in_with - of what `text`, a complaint about the PE, names in its `with:`. */
struct place_at place_in_with(const struct pe *p, const struct dpe *at, const char *text);
void check_wiring(struct draft *dr, const struct pe *p, const struct dpe *at);
/* resolve_schemas - every port of the first `ordered` PEs of topology.order. */
void resolve_schemas(struct draft *dr, uint32_t ordered); /* resolve.c */
/* check_supported - what the format has and the engine has not yet. */
void check_supported(struct draft *dr);
void digest_topology(struct topology *t); /* digest.c */

/* model_named - the scalar that names the model file of a PE (`use: infer`), or NULL. */
const struct ynode *model_named(const struct ynode *pe);

#endif
