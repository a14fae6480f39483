/* core/file.h - whole files: read within a limit, write so that a crash leaves old or new. */
#ifndef OXB_CORE_FILE_H
#define OXB_CORE_FILE_H

#include "core/err.h"

#include <stddef.h>

/* file_read - the whole file with a NUL added; caller frees *data. */
MUST_CHECK enum err file_read(const char *path, size_t bytes_max, char **data, size_t *bytes,
                              struct fail *f);
/* file_write_safe - temporary file, fsync, rename, fsync of the folder. */
MUST_CHECK enum err file_write_safe(const char *path, const void *data, size_t bytes,
                                    struct fail *f);
MUST_CHECK enum err file_make_dirs(const char *path, struct fail *f); /* mkdir -p, mode 0700 */
/* file_lock - this folder is one process's: ends with the descriptor, or the process.  Waits a
 * moment for one that is just ending.  @hint: for who finds it taken.  ERR_DENIED: it is taken. */
MUST_CHECK enum err file_lock(const char *folder, const char *hint, int *fd, struct fail *f);
char *file_dir_of(const char *path);      /* absolute folder of a file; caller frees */
char *file_join(const char *dir, const char *name); /* name if absolute; caller frees */

#endif
