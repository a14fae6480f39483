/* master/translate.h - between the model and the messages: the one file of master/ that knows both.
 *
 * Runs on:    the loop; pure.
 * Invariants: R1 what translate_prepare makes can be sent, or it says so before anything is sent.
 *             R2 nothing in a report is trusted: unknown ids, states out of range and malformed
 *                histograms are skipped. */
#ifndef OXB_MASTER_TRANSLATE_H
#define OXB_MASTER_TRANSLATE_H

#include "core/err.h"
#include "master/deployment.h"
#include "master/members.h"
#include "net/messages.h"

/* translate_hello - HELLO taken apart.  Strings are borrowed from `m`; labels, types and address
 * are made: translate_hello_fini.
 * @peer_host: where the connection came from, for an address without a host. */
MUST_CHECK enum err translate_hello(const struct msg_HELLO *m, const char *peer_host,
                                    struct member_hello *out, struct fail *f);
void translate_hello_fini(struct member_hello *h);

/* translate_worker - what placement may know; JSON is borrowed from `w`. */
void translate_worker(const struct member *w, uint32_t slots_used, struct worker_info *out);

/* translate_prepare - the PREPARE for parts[part]: all workers of the plan, that worker's
 * instances, the streams and channels with an end there.  Borrows from `d` and `ms`;
 * translate_prepare_fini.
 * Return: ERR_LIMIT when it is larger than LARGE_BYTES_MAX or LARGE_OBJECTS_MAX. */
MUST_CHECK enum err translate_prepare(const struct deployment *d, const struct members *ms,
                                      uint32_t part, struct msg *out, struct fail *f);
void translate_prepare_fini(struct msg *m);

/* ---- translate_change.c, and what of translate.c it shares */
/* translate_change - d->upgrade's plan as parts[part] hears it: everything but tokens, workers and
 * streams. */
void translate_change(const struct deployment *d, uint32_t part, struct msg_PREPARE *out);
void translate_instance(const struct deployment *d, uint32_t number,
                        struct rec_INSTANCE_SPEC *out); /* freed by translate_prepare_fini */
void translate_channel(const struct deployment *d, uint32_t number, struct rec_CHANNEL_SPEC *out);

/* translate_report - fold a report into the views.
 * @failed: set to an instance that failed, or NULL. */
void translate_report(struct deployment *d, struct part *p, const struct msg_REPORT *m,
                      const struct instance_view **failed);

#endif
