/* net/direct.h - a connection used by one thread that may block: uploads and downloads.
 *
 * Owns:       struct direct: the socket and the frame being read.
 * Threads:    one, never the loop's.
 * Invariants: every wait ends after SNAPSHOT_IO_MS without a byte.  Frames and limits are those of
 *             net/conn.h. */
#ifndef OXB_NET_DIRECT_H
#define OXB_NET_DIRECT_H

#include "net/conn.h"

struct direct;
/* direct_open - NULL: `f` says why. */
struct direct *direct_open(const struct address *to, struct fail *f);
void direct_close(struct direct *d); /* accepts NULL */
MUST_CHECK enum err direct_send(struct direct *d, const struct msg *m, struct fail *f);
/* direct_receive - the next message, which must be of this kind; valid until the next call. */
MUST_CHECK enum err direct_receive(struct direct *d, enum msg_kind kind, const struct msg **out,
                                   struct fail *f);

#endif
