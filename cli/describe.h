/* cli/describe.h - descriptions of PE types as text and Markdown: `oxbow pe`, docs/PES.md. */
#ifndef OXB_CLI_DESCRIBE_H
#define OXB_CLI_DESCRIBE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* A description is the JSON object of pe/registry.h. */
void describe_list(const json_t *types, FILE *out, bool color);
void describe_text(const json_t *type, FILE *out, bool color);
void describe_markdown(const json_t *type, FILE *out);      /* a `##` section */
void describe_all_markdown(const json_t *types, FILE *out); /* the whole of docs/PES.md */
const char *describe_kind(const json_t *type);              /* source, transform, sink */

#endif
