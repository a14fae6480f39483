/* pe/builtin/file_follow.c - how file-source follows a file through truncation and rotation.
 *
 * Runs on:    the instance's thread; never waits: inotify's descriptor is watched by the engine.
 * Invariants: N1 a file that the path no longer names is read once more to its end after that was
 *             seen, so that what was written before the rotation is not lost.
 * Why:        a look every LOOK_US besides inotify, because network and overlay file systems do
 *             not report what others write. */
#include "core/file.h"
#include "core/mem.h"
#include "pe/builtin/file_source.h"

#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define TIMER_LOOK 2u
#define LOOK_US 1000000u
#define FILE_EVENTS (IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF | IN_DELETE_SELF)
#define FOLDER_EVENTS (IN_CREATE | IN_MOVED_TO | IN_ONLYDIR)

int file_follow_start(struct oxb_pe *pe, struct file_source *s)
{
    s->notify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (s->notify_fd < 0) {
        oxb_log(pe, OXB_WARN, "%s: cannot watch it, looking once per second: %s", s->path,
                strerror(errno));
        return OXB_OK;
    }
    char *folder = file_dir_of(s->path);
    if (inotify_add_watch(s->notify_fd, folder, FOLDER_EVENTS) < 0) {
        oxb_log(pe, OXB_WARN, "%s: cannot watch its folder, looking once per second: %s", s->path,
                strerror(errno));
    }
    mem_free(folder);
    s->watched = inotify_add_watch(s->notify_fd, s->path, FILE_EVENTS);
    if (oxb_watch(pe, s->notify_fd, EPOLLIN) != 0) {
        return oxb_fail(pe, "%s: cannot watch it", s->path);
    }
    return OXB_OK;
}

void file_follow_stop(struct oxb_pe *pe, struct file_source *s)
{
    if (s->notify_fd >= 0) {
        oxb_watch(pe, s->notify_fd, 0);
        close(s->notify_fd);
        s->notify_fd = -1;
    }
}

void file_follow_drain(struct file_source *s)
{
    _Alignas(struct inotify_event) char events[4096];
    while (s->notify_fd >= 0 && read(s->notify_fd, events, sizeof events) > 0) {
    }
}

/* begin_again - read the file that the path names now from its beginning. */
static enum file_more begin_again(struct oxb_pe *pe, struct file_source *s)
{
    close(s->fd);
    s->fd = -1;
    lines_clear(&s->in);
    uint64_t repetition = s->pos.repetition;
    memset(&s->pos, 0, sizeof s->pos);
    s->pos.repetition = repetition;
    s->is_restored = false;
    s->is_rotated = false;
    if (s->watched >= 0) {
        inotify_rm_watch(s->notify_fd, s->watched);
    }
    if (file_open(pe, s) != OXB_OK) {
        return FILE_FAILED;
    }
    s->watched = inotify_add_watch(s->notify_fd, s->path, FILE_EVENTS);
    return FILE_MORE;
}

enum file_more file_follow_end(struct oxb_pe *pe, struct file_source *s)
{
    struct stat now;
    if (s->is_rotated) { /* N1: this is the end, seen after the rotation */
        if (lines_left(&s->in) > 0 && !s->in.is_final) {
            s->in.is_final = true;
            return FILE_MORE;
        }
        return begin_again(pe, s);
    }
    if (fstat(s->fd, &now) == 0 && (uint64_t)now.st_size < s->read_offset) {
        oxb_log(pe, OXB_WARN, "%s was truncated; reading it from its beginning", s->path);
        return begin_again(pe, s);
    }
    if (stat(s->path, &now) == 0 &&
        ((uint64_t)now.st_ino != s->pos.inode || (uint64_t)now.st_dev != s->pos.device)) {
        s->is_rotated = true;
        return FILE_MORE;
    }
    oxb_timer_set(pe, TIMER_LOOK, oxb_mono_us(pe) + LOOK_US);
    return FILE_WAIT;
}
