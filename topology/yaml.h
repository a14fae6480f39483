/* topology/yaml.h - YAML text to a small tree that remembers where everything stood.
 *
 * Owns:       struct ynode.
 * Runs on:    anywhere; pure.
 * Invariants: Y1 no node is deeper than YAML_DEPTH_MAX.  Y2 keys of one mapping differ.
 * Why:        libyaml's event interface with caps of our own, because the library has no limit on
 *             depth and is quadratic in it.  Anchors, aliases, tags, directives and further
 *             documents are refused: a topology needs none, and each is a way to surprise. */
#ifndef OXB_TOPOLOGY_YAML_H
#define OXB_TOPOLOGY_YAML_H

#include "topology/diag.h"

enum ykind { Y_SCALAR, Y_LIST, Y_MAP };

struct ynode {
    enum ykind kind;
    struct place_at at;
    char *text;           /* scalar: UTF-8 without NUL; else NULL */
    bool quoted;          /* scalar in quotes or a block: text, never a number, bool or null */
    struct ynode **items; /* list: [count]; map: key, value, key, value, ... [count] */
    size_t count;         /* of `items` */
    size_t capacity;
};

/* ytree_parse - the one document of `text`.  Return: NULL when nothing can be read; otherwise the
 * tree, perhaps with errors added to `d` (duplicate keys, aliases).  Free with ytree_free. */
struct ynode *ytree_parse(const char *text, size_t bytes, struct diags *d);
void ytree_free(struct ynode *n); /* accepts NULL */

bool ytree_is_null(const struct ynode *n); /* absent, empty, ~ or null */
/* ytree_get - the value of a key, or NULL; `n` may be NULL or not a mapping. */
struct ynode *ytree_get(const struct ynode *n, const char *key);
const char *ytree_kind_text(const struct ynode *n); /* "a list", for messages; static */

#endif
