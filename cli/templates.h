/* cli/templates.h - the texts that `oxbow new` writes. */
#ifndef OXB_CLI_TEMPLATES_H
#define OXB_CLI_TEMPLATES_H

extern const char template_pe_c[], template_pe_test[], template_pe_yaml[], template_pe_make[],
    template_topology_yaml[];

/* template_fill - replace @NAME@ and @SDK@ (the folder of an Oxbow that is built but not
 * installed); caller frees. */
char *template_fill(const char *template, const char *name, const char *sdk);

#endif
