/* core/name.h - a text that may be replaced while others read it, and read for ever.
 *
 * Owns:       every text it ever had; each one once, so going back and forth costs nothing.
 * Threads:    name_text: any, and what it returned stays valid until name_fini.
 *             name_set, name_fini: one at a time. */
#ifndef OXB_CORE_NAME_H
#define OXB_CORE_NAME_H

struct name_text;
struct name { /* all zero: "" */
    _Atomic(const char *) text;
    struct name_text *had;
};

void name_set(struct name *n, const char *text); /* copied */
void name_fini(struct name *n);
static inline const char *name_text(const struct name *n)
{
    const char *text = n->text;
    return text != 0 ? text : "";
}

#endif
