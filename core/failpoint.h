/* core/failpoint.h - named places where a test lets the program die or a step fail.
 *
 * Compiled in always and armed by $OXBOW_FAILPOINTS, read once at start: what is tested is what
 * runs.  Not armed, a place costs one predicted branch.
 *
 *   OXBOW_FAILPOINTS=NAME=ACTION[@N][,...]    N: at the N-th time it is passed (1); 0: each time
 *   OXBOW_FAILPOINTS_WHEN=PATH    passages count only while PATH exists, so that a test may start a
 *                                 process long before the passage that it means
 *   ACTION: kill   SIGKILL to this process: no clean-up, as a crash or an OOM kill
 *           fail   the step fails as its medium would (only at places that ask FAILPOINT_FAILS)
 *
 * Threads: failpoint_setup before any other thread; the rest from any. */
#ifndef OXB_CORE_FAILPOINT_H
#define OXB_CORE_FAILPOINT_H

#include <stdbool.h>

extern bool failpoint_armed; /* tidy: set once */

/* failpoint_setup - Return: false when the variable is malformed; said on the log. */
bool failpoint_setup(void);
/* failpoint_hit - count one passage; dies here if it was asked to.  Return: the step is to fail. */
bool failpoint_hit(const char *name);

#define FAILPOINT_FAILS(name) (__builtin_expect(failpoint_armed, 0) && failpoint_hit(name))
#define FAILPOINT(name) ((void)FAILPOINT_FAILS(name))

#endif
