/* pe/registry.h - which PE types this process knows: built-in, registered, loaded from plug-ins.
 *
 * Threads: any (one leaf mutex).  Types live as long as the process, or as long as their plug-in is
 * referenced.
 * The description of a type is a JSON document; topology/catalog.h reads it.  That is the border by
 * which the model learns of code without linking it:
 *   {"name","doc","source":bool,"many","replayable","own_thread","local","effects","merges",
 *    "snapshots","commits","migrates","state_version":1,"abi":[1,0],
 *    "params":[{"name",
 *               "type":"i64|f64|bool|str|enum|path|address|duration|size|field|fields|any|map",
 *               "required":bool,"default":VALUE|null,"choices":[...],"min","max","doc"}],
 *    "inputs":[{"name","schema":EXPR|null,"doc"}],"outputs":[{"name","schema":EXPR,"doc"}],
 *    "states":[{"name","values":[{"name","type"}]}],
 *    "model":{"inputs":[...],"outputs":[{"name","type"}]}}   of a model: pe/infer/describe.h */
#ifndef OXB_PE_REGISTRY_H
#define OXB_PE_REGISTRY_H

#include "core/err.h"
#include "pe/pe.h"

extern const struct oxb_pe_type *const builtin_types[]; /* ends with NULL: pe/builtin/table.c */

/* type_check - is the table well-formed and of an ABI that this engine runs? */
MUST_CHECK enum err type_check(const struct oxb_pe_type *type, struct fail *f);

struct plugin; /* one loaded shared object, reference-counted */

const struct oxb_pe_type *registry_find(const char *name); /* built-in or registered; NULL */
/* registry_each - built-ins and registered types, in order of name. */
void registry_each(void (*fn)(void *arg, const struct oxb_pe_type *type, bool builtin), void *arg);

/* plugin_open - dlopen `file` (an absolute path), check its ABI and tables. */
MUST_CHECK enum err plugin_open(const char *file, struct plugin **out, struct fail *f);
/* plugin_close - drops the reference; the last one unloads it.  Accepts NULL.
 * Blocks: while another thread loads one. */
void plugin_close(struct plugin *p);
struct plugin_counts { /* of this process, now */
    unsigned loaded;   /* referenced */
    unsigned kept;     /* closed, but the system cannot unload them: their memory stays */
};
struct plugin_counts plugin_counts(void);
/* plugin_find - the type named `symbol`, or the only/first one when symbol is NULL. */
const struct oxb_pe_type *plugin_find(struct plugin *p, const char *symbol);
void plugin_each(struct plugin *p, void (*fn)(void *arg, const struct oxb_pe_type *type),
                 void *arg);

/* describe_type - the JSON text of one type; caller frees.  describe_builtins: a JSON array. */
char *describe_type(const struct oxb_pe_type *type);
char *describe_builtins(void);
/* describe_plugin - a JSON array of the types in a plug-in, or of the one that runs a model, the
 * file being loaded in a CHILD process (`program`
 * run with --describe-plugin FILE) so that foreign code cannot harm the caller; 5 s, 64 KiB.
 * Caller frees *json. */
MUST_CHECK enum err describe_plugin(const char *program, const char *file, char **json,
                                    struct fail *f);
/* describe_plugin_main - the child's side: prints the array on stdout.  Return: exit code. */
int describe_plugin_main(const char *file);

/* ---- would a built-in PE take these parameters with these tuples?  pe/wiring.c
 * The schema expressions of pe/pe.h say which fields a PE needs, not that a constant fits the field
 * it is compared with or a model's input the fields gathered into it.  The PE's own code knows;
 * asked here, it says before a deploy what it would say on a worker. */

/* wiring_check - by the code that a worker runs in `prepare` and `bind`, without an instance that
 * anything could run on.
 * @use:    as in the topology.  What is no built-in, has no such check or would touch more than
 *          memory in it passes.
 * @params: canonical JSON object, with the defaults filled in.
 * @in:     the schema of input port 0, as text; @declared: of `out:`, or NULL; @out: of output
 *          port 0, or NULL when it has none or is not known.
 * Return: ERR_INVALID with `f` set when the PE would refuse; the text names the parameter in
 * backquotes in front, or what is wrong in it in quotes. */
MUST_CHECK enum err wiring_check(const char *use, const char *params, const char *in,
                                 const char *declared, const char *out, struct fail *f);

#endif
