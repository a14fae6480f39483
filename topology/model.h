/* topology/model.h - the logical model: YAML -> checked topology with resolved schemas and digests.
 *
 * Owns:       struct topology and everything below it; immutable once made.
 * Runs on:    anywhere; pure: no files, no sockets, no clock.
 * Invariants: T1 streams form a DAG over known PEs.  T2 every port's schema is resolved and every
 *             stream's two ends agree.  T3 equal content gives equal digests, whatever the
 *             formatting, comments or order of the YAML. */
#ifndef OXB_TOPOLOGY_MODEL_H
#define OXB_TOPOLOGY_MODEL_H

#include "core/err.h"
#include "core/limits.h"
#include "topology/catalog.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define DIGEST_HEX_BYTES 65 /* SHA-256 in hex and the NUL */

struct place_at {       /* where in the YAML; both from 1 */
    uint32_t line, column;
};

enum diag_level { DIAG_ERROR, DIAG_WARNING };

struct diag {
    enum diag_level level;
    struct place_at at;
    char *message;      /* what is wrong */
    char *hint;         /* what to do; may be NULL */
};

struct diags {
    struct diag *items; /* in order of line */
    size_t count, capacity;
    size_t dropped;     /* beyond DIAGS_MAX */
    size_t errors;
};
void diags_fini(struct diags *d);
/* diags_print - `file:line:column: message (hint)`, a line each; caller frees. */
char *diags_text(const struct diags *d, const char *file);

enum partitioning { PART_BALANCED, PART_KEYED, PART_BROADCAST };

enum consistency {       /* of an upgrade: how far the cut reaches */
    CONSISTENCY_EXACT,   /* copies and one-to-one descendants of a tuple meet one version */
    CONSISTENCY_PER_PE,  /* each PE for itself; order per key stays */
    CONSISTENCY_GLOBAL,  /* one place in every source's output divides old from new everywhere */
};
const char *consistency_name(enum consistency c); /* as in YAML */

/* `from: PE.dead-letter`: what the PE could not process.  Its schema: DEAD_LETTER_SCHEMA of
 * pe/host.h. */
#define DEAD_LETTER_PORT "dead-letter"

enum error_then { THEN_STOP, THEN_DROP, THEN_HOLD, THEN_DEAD_LETTER };

struct mfield {          /* one field of a resolved schema */
    char *name;
    char *type;          /* canonical: "i64", "f32[1,28,28]" */
};

struct mschema {
    struct mfield *fields;
    unsigned count;
    char *text;          /* canonical: "path: str, status: i64" */
};

struct port {
    char *name;
    struct mschema schema;
    bool connected;
};

struct pe {
    char *name;
    char *uid;           /* identity of its state; default: name */
    char *use;           /* as written */
    char *code;          /* "count", or SHA256 of the plug-in and its symbol: "9f..:words" */
    const struct pe_desc *desc;  /* borrowed from the catalogue */
    json_t *with;        /* parameters, defaults filled in, checked */
    uint32_t parallelism;
    bool own_thread;
    bool isolate_process;
    bool state_drop;
    uint32_t retries;
    enum error_then then;
    uint64_t stuck_after_us; /* a call of its code that takes longer is stuck */
    json_t *labels;      /* place.labels, or NULL */
    char *device;        /* gpu | cpu | any */
    struct port *inputs, *outputs; /* behind the last output: DEAD_LETTER_PORT, if desc is there */
    unsigned input_count, output_count;
    bool has_declared_out;
    struct mschema declared_out;
    char digest[DIGEST_HEX_BYTES]; /* behaviour: code, parameters, schemas; not name, not place */
    struct place_at at;
};

struct stream {
    char *name;
    uint32_t from_pe, from_port; /* index into pes, outputs */
    uint32_t to_pe, to_port;
    enum partitioning partitioning;
    unsigned key_count;
    uint32_t keys[KEY_FIELDS_MAX]; /* field numbers in the from port's schema */
    struct place_at at;
};

struct topology {
    char *name;
    struct pe *pes;          /* in order of name */
    uint32_t pe_count;
    struct stream *streams;  /* in order of name */
    uint32_t stream_count;
    uint64_t checkpoint_every_us; /* 0: none */
    uint32_t checkpoint_keep;
    char *checkpoint_location;    /* NULL: master */
    uint64_t checkpoint_retain_bytes; /* of each worker, for logs of what was sent */
    enum consistency consistency; /* upgrade.consistency */
    uint64_t upgrade_timeout_us;
    bool fusion;             /* `fusion: auto|off`, default auto */
    char *canonical;         /* canonical JSON of the whole */
    char digest[DIGEST_HEX_BYTES];
    uint32_t *order;         /* [pe_count] indices of PEs, producers before consumers */
};

/* topology_parse - text to a checked topology.
 * @base_dir: what relative paths in the YAML are relative to (absolute path), kept in parameters of
 *            type path as absolute paths.
 * Return: the topology, or NULL when `d` holds at least one error.  Borrow of `c` lasts as long. */
struct topology *topology_parse(const char *yaml, size_t bytes, const char *base_dir,
                                const struct catalog *c, struct diags *d);
void topology_free(struct topology *t);
/* topology_files - the plug-ins (and models) a YAML names, before it can be checked: values of
 * `use:` that contain a slash or end in .so.  A JSON array of strings without ":symbol", each once;
 * caller decrefs.  NULL when the YAML does not parse: `d` says why. */
json_t *topology_files(const char *yaml, size_t bytes, struct diags *d);
const struct pe *topology_pe(const struct topology *t, const char *name);
/* stream_is_one_to_one - instance i feeds instance i and nobody else: balanced between PEs of equal
 * parallelism, or any partitioning between two single instances. */
static inline bool stream_is_one_to_one(const struct topology *t, const struct stream *s)
{
    uint32_t from = t->pes[s->from_pe].parallelism;
    return from == t->pes[s->to_pe].parallelism &&
           (from == 1 || s->partitioning == PART_BALANCED);
}

/* topology_schema_json - the JSON Schema (draft-07) of the format; caller frees. */
char *topology_schema_json(const struct catalog *c);

#endif
