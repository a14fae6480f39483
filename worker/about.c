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

enum err about_labels(const char *const *texts, struct labels *out, struct fail *f)
{
    for (size_t k = 0; texts != NULL && texts[k] != NULL; k++) {
        const char *equals = strchr(texts[k], '=');
        if (equals == NULL || equals == texts[k] || k >= LABELS_MAX) {
            return fail_set(f, ERR_INVALID, "write --label KEY=VALUE", "malformed label \"%s\"",
                            texts[k]);
        }
        char *text = mem_dup(texts[k]);
        text[equals - texts[k]] = '\0';
        out->text[k] = text;
        out->items[k] = (struct rec_LABEL){.key = text, .value = text + (equals - texts[k]) + 1};
        out->count = k + 1;
    }
    return ERR_OK;
}

void labels_fini(struct labels *l)
{
    for (size_t k = 0; k < l->count; k++) {
        mem_free(l->text[k]);
    }
    l->count = 0;
}
