/* worker/probe.h - can every member of a change cut?  Asked before READY (PROTOCOL R3).  And does
 * what a recovery replaces go away?
 *
 * Threads:    the loop's.
 * Why:        after the decision there is no way back; a member whose code hangs never comes to the
 *             place where it cuts, and one that is held has input that only new code may meet
 * (H17).
 */
#ifndef OXB_WORKER_PROBE_H
#define OXB_WORKER_PROBE_H

#include "worker/cut.h"
#include "worker/part.h"

enum probe { PROBE_YES, PROBE_WAIT, PROBE_NO };
/* probe_members - PROBE_WAIT: some member is in a call that began before the question; ask again.
 * @waited_us: since it was first asked.  PROBE_NO: `f` and `where` (the PE) say why. */
enum probe probe_members(const struct part *base, uint64_t waited_us, struct fail *f,
                         char *where /* [NAME_BYTES_MAX + 1] */);
/* probe_hold_fits - may this cut be made of an instance that is held?  NULL: yes; else why not. */
const char *probe_hold_fits(const struct instance *i, const struct cut *k);
/* probe_must_renew - something that was discarded for a recovery is in a call that does not come
 * back, so that what takes its place cannot begin in this process: R20.
 * @parts: a list; @why: for people. */
bool probe_must_renew(const struct part *parts, char *why, size_t why_bytes);

#endif
