/* pe/state.h - keyed state inside the engine: one open-addressing table per state and instance.
 *
 * Layout:     the key group of an entry is the top eight bits of its hash; a group is one range of
 *             slots of its own, in which the next bits choose the position, with slack at its end.
 *             An instance pays only for the groups it owns.
 * Growth:     by doubling, one group at a time and at staggered fill, so that no single call pays
 *             for more than a group or two.
 * Versions:   every write stamps its entry with the table's current version; several readers
 *             (checkpoint, move) each remember the version they copied up to.  While a reader is
 *             open, a deletion leaves a tombstone.
 * Freezing:   state_freeze marks groups for a reader at one instant: the first write to a frozen
 *             group that was not yet copied copies that group first (copy on write by group), so
 *             the reader sees the state as of the instant while the owner goes on.
 * Threads:    the instance's thread writes; readers' state_read_group may run on one helper thread
 *             per reader, beside the writer.
 * Invariants: S1 an entry is found in its own group's range only.
 *             S2 a frozen group is copied exactly once per reader, before its first later write.
 *             S3 sum over groups of live entries = oxb_state_count. */
#ifndef OXB_PE_STATE_H
#define OXB_PE_STATE_H

#include "core/err.h"
#include "core/limits.h"
#include "pe/pe.h"

struct strbuf;

struct oxb_state *state_new(const struct oxb_state_decl *decl);
void state_free(struct oxb_state *s); /* accepts NULL */
const struct oxb_state_decl *state_decl(const struct oxb_state *s);
uint64_t state_bytes(const struct oxb_state *s);                  /* memory held */
uint64_t state_group_count(const struct oxb_state *s, unsigned group); /* live entries */
uint64_t state_version(const struct oxb_state *s);
uint64_t state_writes(const struct oxb_state *s); /* calls of the owner that may have changed it */

/* Readers.  A reader copies groups changed since its base (0: everything), as of the freeze. */
struct state_reader;
struct state_reader *state_reader_new(struct oxb_state *s);
void state_reader_free(struct state_reader *r);
/* state_freeze - thread: the instance's, between batches.  groups[256]: which. */
void state_freeze(struct state_reader *r, const bool *groups);
/* state_changed - groups[256]: those with anything the reader has not copied.  Return: how many.
 * Thread: the instance's, before state_freeze. */
unsigned state_changed(struct state_reader *r, bool *groups);
/* state_read_group - the group's entries changed since this reader's base as a self-contained byte
 * string (MessagePack: array of [hash, key, cells..., | tombstone]); appends to `out`.  When all
 * frozen groups were read the reader's base becomes the freeze.  ERR_NOTFOUND: the group is not
 * frozen for this reader, or was handed out.  Thread: helper or the instance's. */
MUST_CHECK enum err state_read_group(struct state_reader *r, unsigned group, struct strbuf *out);
/* state_write_group - take in what state_read_group wrote (base, then deltas in order).
 * Checked, for it may come from a file or a peer: ERR_INVALID, and nothing is changed.  A copy from
 * base 0 replaces the group; a delta that does not follow what was taken in: ERR_STALE.
 * Thread: the instance's. */
MUST_CHECK enum err state_write_group(struct oxb_state *s, unsigned group, const void *data,
                                      size_t bytes, struct fail *f);
/* What turns entries written under another declaration into those of the table that takes them in:
 * their cells are read as they were written, so the old declaration need not be known. */
struct state_migration {
    /* `cells` are those of the entry in `to`, all 0.  Return: false; it has set `fail`. */
    bool (*entry)(struct state_migration *how, struct oxb_state *to, uint64_t *cells);
    uint64_t old[FIELDS_MAX]; /* the cells as they were; behind the last of them 0 */
    struct fail fail;
};
/* state_migrate_group - state_write_group through `how` (NULL: as they are).  When `how` fails, its
 * failure; some entries of the group are taken in then. */
MUST_CHECK enum err state_migrate_group(struct oxb_state *s, unsigned group, const void *data,
                                        size_t bytes, struct state_migration *how, struct fail *f);
/* state_swap - exchange the entries of two tables of equal values; each keeps its declaration, so
 * that code which holds a pointer to its table goes on with the other's entries.  No readers may be
 * open.  Return: false, nothing done, when the values differ. */
bool state_swap(struct oxb_state *a, struct oxb_state *b);
void state_drop_group(struct oxb_state *s, unsigned group); /* its owner moved away */

/* Movers.  Groups on their way to another table, told piece by piece while their owner goes on: all
 * their entries first, then in rounds those written meanwhile, with tombstones.  What is told is
 * not the state of one instant; it is that of the owner as soon as nothing is left to tell.
 * All on the instance's thread, a slice at a time: there is nothing to lock, freeze or copy, and
 * what a slice costs depends on its size alone.  A group has one mover at most. */
struct state_mover;
struct state_mover *state_mover_new(struct oxb_state *s, const bool *groups /* [KEY_GROUPS] */);
void state_mover_free(struct state_mover *m); /* accepts NULL */
/* state_mover_slice - append about `bytes_max` bytes of pieces (more if one entry is larger).
 * Return: is there more to tell at this moment? */
bool state_mover_slice(struct state_mover *m, size_t bytes_max, struct strbuf *out);
unsigned state_mover_rounds(const struct state_mover *m);  /* begun since the entries were told */
uint64_t state_mover_behind(const struct state_mover *m);  /* entries written and not yet told */
/* state_take_pieces - what state_mover_slice wrote, slice by slice; checked as state_write_group
 * checks, piece by piece.  Thread: whose table it is; a staged table is its helper's. */
MUST_CHECK enum err state_take_pieces(struct oxb_state *s, const void *data, size_t bytes,
                                      struct fail *f);
MUST_CHECK enum err state_migrate_pieces(struct oxb_state *s, const void *data, size_t bytes,
                                         struct state_migration *how, struct fail *f);
/* state_take_group - the group's entries change tables, by pointer: its cost does not depend on
 * their number, unless one table has only 8-byte keys and the other has not.  What `to` had of the
 * group goes.  Return: false, nothing done, when the values differ. */
bool state_fits(const struct oxb_state *a, const struct oxb_state *b); /* equal values? */
bool state_take_group(struct oxb_state *to, struct oxb_state *from, unsigned group);

#endif
