/* tests/support/hostile.h - model files made to hurt: are they refused, and what does it cost?
 *
 * Each file is taken three ways (`model check`, the check of a topology, the start of a PE) by a
 * child.  Its greatest size is compared with that of a child that looks at a sound model, and its
 * processor's time with a generous bound; neither under a sanitizer, whose own cost is in the
 * figures.  A child that hangs is found by an alarm. */
#ifndef OXB_TESTS_SUPPORT_HOSTILE_H
#define OXB_TESTS_SUPPORT_HOSTILE_H

#include "core/strbuf.h"
#include "tests/support/onnx_build.h"

#include <stdio.h>

struct hostile_file {
    char path[64];
    FILE *to;
};

struct hostile_file hostile_open(void); /* empty */
void hostile_put(struct hostile_file *f, const struct strbuf *b, size_t bytes);
struct hostile_file hostile_of(struct strbuf *bytes); /* clears it */
struct hostile_file hostile_model(struct onnx_build *m, int opset);
/* hostile_refused - fails the test unless all three ways refuse the file, each with a message that
 * has `text` in it, within the bounds.  The file is gone after.
 * @what: for the report. */
void hostile_refused(const char *what, struct hostile_file *f, const char *text);
/* hostile_loaded - of a file that is odd but sound: the two ways that do not run it take it, within
 * the same bounds. */
void hostile_loaded(const char *what, struct hostile_file *f);

#endif
