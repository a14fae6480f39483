/* worker/about.c - what a worker says of itself when it joins. */
#include "worker/about.h"

#include "core/file.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "pe/registry.h"

#include <string.h>
#include <unistd.h>

char *about_host(void)
{
    char *text = NULL;
    size_t bytes = 0;
    if (file_read("/etc/machine-id", 256, &text, &bytes, NULL) == ERR_OK && bytes > 8) {
        text[strcspn(text, "\n")] = '\0';
        return text;
    }
    mem_free(text);
    char host[256] = "localhost";
    gethostname(host, sizeof host - 1);
    return mem_dup(host);
}

struct types_text {
    struct strbuf json;
    bool any;
};

static void add_type(void *arg, const struct oxb_pe_type *type, bool builtin)
{
    struct types_text *t = arg;
    if (builtin) {
        return;
    }
    char *one = describe_type(type);
    strbuf_text_add(&t->json, t->any ? "," : "[");
    strbuf_text_add(&t->json, one);
    t->any = true;
    mem_free(one);
}

char *about_types(void)
{
    struct types_text t = {0};
    registry_each(add_type, &t);
    if (t.any) {
        strbuf_char(&t.json, ']');
    }
    return strbuf_take(&t.json);
}
