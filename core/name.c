/* core/name.c - a text that may be replaced while others read it. */
#include "core/name.h"

#include "core/mem.h"

#include <stdatomic.h>
#include <string.h>

struct name_text {
    struct name_text *next;
    char *text;
};

void name_set(struct name *n, const char *text)
{
    struct name_text *t = n->had;
    while (t != NULL && strcmp(t->text, text) != 0) {
        t = t->next;
    }
    if (t == NULL) {
        t = mem_alloc(sizeof *t);
        t->text = mem_dup(text);
        t->next = n->had;
        n->had = t;
    }
    atomic_store(&n->text, t->text);
}

void name_fini(struct name *n)
{
    atomic_store(&n->text, NULL);
    while (n->had != NULL) {
        struct name_text *t = n->had;
        n->had = t->next;
        mem_free(t->text);
        mem_free(t);
    }
}
