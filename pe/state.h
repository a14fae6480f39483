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
 * Freezing:   state_freeze marks groups for a reader at one instant.  They are copied slice by
 * slice between the owner's batches; an entry that is written before its turn is copied first,
 * alone (copy on write by entry), so the reader sees the state as of the instant while the owner
 * goes on, and no call of the owner pays for a group. Threads:    all on the instance's thread, but
 * what says otherwise. Invariants: S1 an entry is found in its own group's range only. S2 an entry
 * is copied for a reader before its first write after the freeze. S3 sum over groups of live
 * entries = oxb_state_count. */
#ifndef OXB_PE_STATE_H
#define OXB_PE_STATE_H

#include "core/err.h"
#include "core/limits.h"
#include "pe/pe.h"

struct strbuf;

struct oxb_state *state_new(const struct oxb_state_decl *decl);
struct oxb_state *state_new_like(const struct oxb_state *s); /* empty, declared alike */
void state_free(struct oxb_state *s); /* accepts NULL */
const struct oxb_state_decl *state_decl(const struct oxb_state *s);
uint64_t state_bytes(const struct oxb_state *s);                       /* memory held */
uint64_t state_group_count(const struct oxb_state *s, unsigned group); /* live entries */
uint64_t state_version(const struct oxb_state *s);
uint64_t state_writes(const struct oxb_state *s); /* calls of the owner that may have changed it */

/* Timers of keys: see oxb_key_timer_set.
 * state_keep_timers - its OXB_TIME cells are timers from now on, or are not.  Looks at all entries
 * when that changes. */
void state_keep_timers(struct oxb_state *s, bool keep);
/* state_timer_next - no timer is due before; wall clock, us.  INT64_MAX: there is none. */
int64_t state_timer_next(const struct oxb_state *s);
/* state_timer_take - one that is due by `now_us`; its cell is 0 then.  @key: what *out borrows.
 * Return: false: there is none. */
bool state_timer_take(struct oxb_state *s, int64_t now_us, struct strbuf *key, struct oxb_key *out,
                      unsigned *cell);

/* Readers.  A reader copies groups changed since its base (0: everything), as of the freeze. */
struct state_reader;
struct state_reader *state_reader_new(struct oxb_state *s);
void state_reader_free(struct state_reader *r); /* accepts NULL */
/* state_reader_resume - a new reader of a table that was brought to where pieces have led, and that
 * nobody has written to since: the reader has copied all of it up to there.
 * @told: [KEY_GROUPS]; 0: nothing of the group.  Return: false, nothing done: there is no such
 * version. */
MUST_CHECK bool state_reader_resume(struct state_reader *r, const uint64_t *told);
/* state_changed - groups[256]: those with anything the reader has not copied.  Return: how many.
 * Before state_freeze. */
unsigned state_changed(struct state_reader *r, bool *groups);
/* state_reader_changed - about how many entries a delta of the group would have.  After
 * state_changed. */
uint64_t state_reader_changed(const struct state_reader *r, unsigned group);
/* state_freeze - between batches.  groups[256]: which; whole[256]: of these, all entries and not
 * only what was written since the base; NULL: none. */
void state_freeze(struct state_reader *r, const bool *groups, const bool *whole);
/* state_reader_slice - append the next piece: entries of one group, about `bytes_max` bytes (more
 * if one is larger), as a byte string that state_write_group takes (MessagePack: array of
 * [hash, key, cells..., | tombstone]).  *group: whose; nothing appended: none was found in this
 * slice.  When all was handed out the reader's base becomes the freeze.  Return: is there more? */
bool state_reader_slice(struct state_reader *r, size_t bytes_max, struct strbuf *out,
                        unsigned *group);
/* state_read_group - what is left of one group as one piece, at once; if there is anything.
 * ERR_NOTFOUND: the group is not frozen for this reader, or was handed out. */
MUST_CHECK enum err state_read_group(struct state_reader *r, unsigned group, struct strbuf *out);
/* state_reader_told - the version that its newest piece brings the group to; 0: none yet. */
uint64_t state_reader_told(const struct state_reader *r, unsigned group);
/* state_write_group - take in a piece (base, then deltas in order).
 * Checked, for it may come from a file or a peer: ERR_INVALID, and nothing is changed.  A copy from
 * base 0 replaces the group; a delta that does not follow what was taken in: ERR_STALE. */
MUST_CHECK enum err state_write_group(struct oxb_state *s, unsigned group, const void *data,
                                      size_t bytes, struct fail *f);
struct state_piece {
    uint64_t base, version; /* from and to which it leads; from 0: it replaces the group */
    uint64_t entries;       /* as it says */
};
/* state_piece_head - Return: false: it is no piece. */
bool state_piece_head(const void *data, size_t bytes, struct state_piece *out);
uint64_t state_imported(const struct oxb_state *s, unsigned group); /* 0: nothing was taken in */
/* state_expect - so many entries are about to come: the group's first range has room for them. */
void state_expect(struct oxb_state *s, unsigned group, uint64_t entries);
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
unsigned state_mover_rounds(const struct state_mover *m); /* begun since the entries were told */
uint64_t state_mover_behind(const struct state_mover *m); /* entries written and not yet told */
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
/* state_lend_group - the same between two tables that take in pieces of one writer: the taker goes
 * on where the other has come to. */
bool state_lend_group(struct oxb_state *to, struct oxb_state *from, unsigned group);

#endif
