/* topology/schema.h - field types, resolved schemas, and the expressions by which ports declare
 * them.
 *
 * Runs on:    anywhere; pure.
 * The language stands in pe/pe.h at struct oxb_port.  Beyond it: `?format=csv(...)` and
 * `?format!=csv(...)` compare a parameter with a word; in the schema of an input, `$field: i64|f64`
 * asks for one of these types, and so does `name: i64|f64`. */
#ifndef OXB_TOPOLOGY_SCHEMA_H
#define OXB_TOPOLOGY_SCHEMA_H

#include "topology/model.h"

/* schema_type - canonical form of a type ("f32[1, 28]" -> "f32[1,28]").
 * Return: caller frees; NULL when it is none, with *hint set (caller frees; may be NULL). */
char *schema_type(const char *text, char **hint);

void mschema_fini(struct mschema *s);
/* mschema_put - add a field, or give the one of that name another type. */
void mschema_put(struct mschema *s, const char *name, const char *type);
void mschema_seal(struct mschema *s); /* makes the canonical text; known from now on */
void mschema_copy(struct mschema *to, const struct mschema *from);
int mschema_find(const struct mschema *s, const char *name); /* index, or -1 */
static inline bool mschema_known(const struct mschema *s)
{
    return s->text != NULL;
}

/* port_default - the port meant where none is named: that called `name`, else the first, or -1. */
int port_default(const struct port *ports, unsigned count, const char *name);

struct schema_scope {
    const struct mschema *input;    /* of port 0; NULL or not known: unknown */
    const struct mschema *declared; /* what `out:` says; NULL: nothing */
    const json_t *with;
    const json_t *model;            /* of a PE that runs one: pe/registry.h; else NULL */
};

/* schema_output - resolve the expression of an output port into `out` and seal it.
 * Return: ERR_AGAIN when it depends on an unknown input (nothing to report), ERR_NOTFOUND when it
 * needs `out:`, else ERR_INVALID with `f` set; `out` is empty then. */
MUST_CHECK enum err schema_output(const char *expr, const struct schema_scope *scope,
                                  struct mschema *out, struct fail *f);
/* schema_input - the fields an input port asks for; a type may be "" (any) or "i64|f64".
 * @expr: may be NULL.  Not sealed. */
MUST_CHECK enum err schema_input(const char *expr, const struct schema_scope *scope,
                                 struct mschema *wanted, struct fail *f);
/* schema_type_fits - is `type` one of the alternatives of `wanted`? */
bool schema_type_fits(const char *type, const char *wanted);

#endif
