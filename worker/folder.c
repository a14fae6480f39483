/* worker/folder.c - is the folder ours, and the same for all; what nobody needs goes. */
#include "worker/folder.h"

#include "core/clock.h"
#include "core/file.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/safefile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PROBE_PAUSE_NS = 20000000 };

/* A deploy begins a folder; anything else finds it. */
static bool begins(const struct msg_PREPARE *plan)
{
    return plan->base_version == 0 && plan->restores_count == 0 && plan->stay_instances_count == 0;
}

static enum err put(const char *dir, const char *name, const char *text, struct fail *f)
{
    char *path = mem_printf("%s/%s", dir, name);
    struct safefile file = {.fd = -1};
    enum err e = safefile_open(&file, path, f);
    if (e == ERR_OK) {
        e = safefile_add(&file, text, strlen(text), f);
    }
    if (e == ERR_OK) {
        e = safefile_commit(&file, f);
    }
    safefile_discard(&file);
    mem_free(path);
    return e;
}

/* holds - does the file say this?  ERR_NOTFOUND: there is none. */
static enum err holds(const char *dir, const char *name, const char *text, struct fail *f)
{
    char *path = mem_printf("%s/%s", dir, name), *found = NULL;
    size_t bytes = 0;
    enum err e = access(path, F_OK) != 0 && errno == ENOENT
                     ? ERR_NOTFOUND
                     : file_read(path, PATH_BYTES_MAX, &found, &bytes, f);
    if (e == ERR_OK && strcmp(found, text) != 0) {
        e = ERR_EXISTS;
    }
    mem_free(found);
    mem_free(path);
    return e;
}

static enum err check_owner(const struct msg_PREPARE *plan, const char *dir, struct fail *f)
{
    char *text = mem_printf("%" PRIu64 "\n", plan->cluster);
    enum err e = holds(dir, ".owner", text, f);
    if (e == ERR_NOTFOUND && begins(plan)) {
        e = put(dir, ".owner", text, f);
        e = e == ERR_OK ? holds(dir, ".owner", text, f) : e;
    }
    if (e == ERR_NOTFOUND) {
        e = fail_set(f, ERR_DENIED, "mount the folder that the other workers have",
                     "%s is not the folder that the topology was deployed with", dir);
    } else if (e == ERR_EXISTS) {
        e = fail_set(f, ERR_DENIED,
                     "use another folder or another name; or remove it, if that cluster is gone",
                     "another cluster keeps checkpoints of a topology %s in %s", plan->topology,
                     dir);
    }
    mem_free(text);
    return e;
}

/* Probes that an earlier deploy of this worker has left. */
static void remove_probes(const char *dir, const char *worker)
{
    DIR *d = opendir(dir);
    size_t bytes = strlen(worker);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        size_t n = strlen(e->d_name);
        if (strncmp(e->d_name, ".probe.", 7) == 0 && n > bytes && e->d_name[n - bytes - 1] == '.' &&
            strcmp(e->d_name + n - bytes, worker) == 0) {
            unlinkat(dirfd(d), e->d_name, 0);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
}

static enum err wait_for(const struct msg_PREPARE *plan, const char *dir, const char *worker,
                         const char *other, uint64_t until_us, struct fail *f)
{
    char *name = mem_printf(".probe.%" PRIu64 ".%s", plan->op, other);
    char *text = mem_printf("%" PRIu64 " %" PRIu64 "\n", plan->cluster, plan->op);
    enum err e;
    while ((e = holds(dir, name, text, f)) == ERR_NOTFOUND && clock_now_us() < until_us) {
        nanosleep(&(struct timespec){.tv_nsec = PROBE_PAUSE_NS}, NULL);
    }
    if (e != ERR_OK) {
        e = fail_set(f, ERR_DENIED, "all workers must mount the same folder there",
                     "worker %s does not see what worker %s writes to %s", worker, other, dir);
    }
    mem_free(text);
    mem_free(name);
    return e;
}

static enum err check_probes(const struct msg_PREPARE *plan, const char *dir, const char *worker,
                             struct fail *f)
{
    char *name = mem_printf(".probe.%" PRIu64 ".%s", plan->op, worker);
    char *text = mem_printf("%" PRIu64 " %" PRIu64 "\n", plan->cluster, plan->op);
    uint64_t until_us = clock_now_us() + 2 * (uint64_t)HANDSHAKE_MS * 1000;
    remove_probes(dir, worker);
    enum err e = put(dir, name, text, f);
    for (size_t i = 0; e == ERR_OK && i < plan->workers_count; i++) {
        e = wait_for(plan, dir, worker, plan->workers[i].name, until_us, f);
    }
    mem_free(text);
    mem_free(name);
    return e;
}

enum err folder_check(const struct msg_PREPARE *plan, const char *worker, struct fail *f)
{
    if (!plan->checkpoints || plan->location[0] == '\0') {
        return ERR_OK;
    }
    char *dir = mem_printf("%s/%s", plan->location, plan->topology);
    enum err e = file_make_dirs(dir, f);
    if (e == ERR_OK) {
        e = check_owner(plan, dir, f);
    }
    if (e == ERR_OK && begins(plan)) {
        e = check_probes(plan, dir, worker, f);
    }
    if (e != ERR_OK) {
        struct fail why = *f;
        e = fail_set(f, e,
                     why.hint[0] != '\0' ? why.hint
                                         : "every worker must be able to write to the folder",
                     "worker %s cannot keep checkpoints: %.300s", worker, why.what);
    }
    mem_free(dir);
    return e;
}

void folder_sweep(const char *location, const char *topology, const uint64_t *needed, size_t count,
                  uint64_t below)
{
    char *dir = mem_printf("%s/%s", location, topology);
    DIR *d = opendir(dir);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        char *end = NULL;
        uint64_t epoch = strtoull(e->d_name, &end, 10);
        bool keep = end == e->d_name || *end != '.' || epoch >= below;
        for (size_t i = 0; i < count && !keep; i++) {
            keep = needed[i] == epoch;
        }
        if (!keep && unlinkat(dirfd(d), e->d_name, 0) != 0 && errno != ENOENT) {
            log_event(LOG_WARN, "folder.sweep", "file=%s/%s what=\"%s\"", dir, e->d_name,
                      strerror(errno));
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    mem_free(dir);
}
