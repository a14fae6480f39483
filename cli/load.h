/* cli/load.h - a topology file with all it names: text, plug-ins and their digests, the model.
 *
 * Owns:       struct loaded.
 * Runs on:    the caller; reads files; describes plug-ins in child processes, never in this one. */
#ifndef OXB_CLI_LOAD_H
#define OXB_CLI_LOAD_H

#include "core/sha256.h"
#include "topology/model.h"

struct load_file {                 /* one plug-in that the YAML names */
    char *use;                     /* as written, without `:symbol` */
    char *path;                    /* absolute */
    char digest[SHA256_HEX_BYTES]; /* valid if !missing */
    bool missing;                  /* it cannot be read or described: `why` */
    struct fail why;
};

struct loaded {
    char *file; /* as the user named it */
    char *yaml;
    size_t yaml_bytes;
    char *base_dir; /* absolute */
    struct load_file *files;
    size_t file_count;
    struct diags diags;
    struct catalog *catalog;   /* after load_check */
    struct topology *topology; /* after load_check; NULL when diags has errors */
};

/* load_read - the text, and the files it names with their digests.  Problems of the YAML are in
 * out->diags; ERR_* is for a file that cannot be read at all.  load_fini in every case. */
MUST_CHECK enum err load_read(const char *file, struct loaded *out, struct fail *f);
/* load_check - after load_read: describe built-ins and plug-ins, make the model.
 * @program: this executable, for describe_plugin.  Problems are in l->diags. */
void load_check(struct loaded *l, const char *program);
/* load_name - what the text calls the topology, or NULL when that is no name; caller frees. */
char *load_name(const struct loaded *l);
bool load_has_missing(const struct loaded *l); /* a file that it names cannot be read */
void load_fini(struct loaded *l); /* accepts a zeroed one */

#endif
