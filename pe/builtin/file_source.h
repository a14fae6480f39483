/* pe/builtin/file_source.h - the parts of file-source: reading records, and following a file.
 *
 * Owns:       struct file_source, one instance.
 * Invariants: R1 pos.offset is the first byte that no emitted tuple covers; a snapshot is it.
 *             R2 read_offset is the file position behind the buffer's last byte.
 *             R3 instance i of N reads the lines that begin in [size*i/N, size*(i+1)/N), the size
 *             being the file's at start: every line has one reader.
 *             R5 another file under another name is read from its beginning; under the same name it
 *             is taken for a copy, where it is not followed. */
#ifndef OXB_PE_BUILTIN_FILE_SOURCE_H
#define OXB_PE_BUILTIN_FILE_SOURCE_H

#include "pe/builtin/csv.h"
#include "pe/builtin/lines.h"
#include "pe/builtin/pace.h"

enum file_format { FILE_LINES, FILE_JSONL, FILE_CSV };

struct file_position { /* the snapshot */
    uint64_t begin;    /* first byte of a repetition: behind a csv header, or of the range (R3) */
    uint64_t end;      /* lines that begin from here on are another's; UINT64_MAX: none are */
    uint64_t offset;   /* R1 */
    uint64_t line;     /* lines before offset, in this repetition; 0 at the begin of a range */
    uint64_t repetition;
    uint64_t device; /* which file this is about */
    uint64_t inode;
    uint64_t parallelism;
    uint64_t path;     /* hash of what it was called; 0: not known, an older program saved it */
};

struct file_source {
    /* parameters */
    const char *path;
    enum file_format format;
    bool follows;
    uint64_t repeat;
    struct pace pace;
    const struct oxb_schema *schema;
    /* reading */
    struct file_position pos;
    bool is_restored;
    int fd; /* -1: none */
    uint64_t read_offset;
    uint64_t begin_line;
    struct lines in;
    struct csv csv;
    bool has_header; /* csv: read */
    struct strbuf scratch;
    /* following */
    int notify_fd;   /* -1: none */
    int watched;     /* inotify's number for the file; -1: none */
    bool is_rotated; /* the path names another file; this one is read to its end first */
};

enum file_more { FILE_MORE, FILE_ENDED, FILE_WAIT, FILE_FAILED };

/* file_open - open the file and go to pos, or to the begin of this instance's range. */
int file_open(struct oxb_pe *pe, struct file_source *s);
/* file_fail_here - oxb_fail with the place of the record at pos.offset before the text. */
int file_fail_here(struct oxb_pe *pe, struct file_source *s, const char *what);

int file_follow_start(struct oxb_pe *pe, struct file_source *s);
void file_follow_stop(struct oxb_pe *pe, struct file_source *s);
/* file_follow_end - at the end of a followed file: has it been truncated or replaced? */
enum file_more file_follow_end(struct oxb_pe *pe, struct file_source *s);
void file_follow_drain(struct file_source *s); /* take inotify's events: that they came is enough */

#endif
