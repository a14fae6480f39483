/* worker/dead_letter.c - dead letters to their stream or their file. */
#include "worker/dead_letter.h"

#include "core/clock.h"
#include "core/file.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/text.h"
#include "worker/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *line_of(const struct pe_dead_letter *d)
{
    char at[28];
    text_rfc3339_us(d->at_us, at);
    json_t *tuple = json_loadb(d->tuple.p != NULL ? d->tuple.p : "", d->tuple.len, 0, NULL);
    if (tuple == NULL && d->tuple.len > 0) { /* not JSON: the text; not even text: nothing */
        tuple = json_stringn(d->tuple.p, d->tuple.len);
    }
    json_t *line = json_pack("{s:s, s:I, s:s, s:s, s:s, s:o}", "pe", d->pe, "instance",
                             (json_int_t)d->instance, "stream", d->stream, "error", d->error, "at",
                             at, "tuple", tuple != NULL ? tuple : json_null());
    char *text = line != NULL ? json_dumps(line, JSON_COMPACT) : NULL;
    char *out = mem_printf("%s\n", text != NULL ? text : "{}");
    free(text);
    json_decref(line);
    return out;
}

static bool append(const char *path, const char *line)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    struct stat st;
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size >= (off_t)DEAD_FILE_BYTES_MAX) {
        char *old = mem_printf("%s.1", path);
        (void)rename(path, old);
        mem_free(old);
        close(fd);
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    }
    size_t bytes = strlen(line);
    bool ok = fd >= 0 && write(fd, line, bytes) == (ssize_t)bytes;
    int error = errno;
    if (fd >= 0) {
        close(fd);
    }
    errno = error;
    return ok;
}

static void to_file(struct instance *i, const struct pe_dead_letter *d)
{
    struct fail f = {0};
    const char *data = pe_data_dir(i->pe);
    char *dir = mem_printf("%s/dead-letters/%s", data != NULL ? data : ".", i->topology);
    char *path = mem_printf("%s/%s.%u.jsonl", dir, d->pe, i->index);
    char *line = line_of(d);
    if (file_make_dirs(dir, &f) != ERR_OK || !append(path, line)) {
        log_event(LOG_ERROR, "dead_letter.unwritten", "path=\"%s\" what=\"%s\"", path,
                  f.what[0] != '\0' ? f.what : strerror(errno));
    }
    mem_free(line);
    mem_free(path);
    mem_free(dir);
}

void dead_letter_send(struct instance *i, const char *error, const char *stream,
                      const struct strbuf *tuple)
{
    struct pe_dead_letter d = {.pe = name_text(&i->pe_name),
                               .instance = i->index,
                               .error = error,
                               .stream = stream,
                               .at_us = clock_wall_us(),
                               .tuple = {tuple->data, (uint32_t)tuple->bytes}};
    if (!pe_write_dead_letter(i->pe, &d)) {
        to_file(i, &d);
    }
}
