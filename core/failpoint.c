/* core/failpoint.c - named places where a test lets the program die or a step fail. */
#include "core/failpoint.h"

#include "core/log.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POINTS_MAX 16
#define POINT_NAME_BYTES 64

struct point {
    char name[POINT_NAME_BYTES];
    bool kill;
    unsigned at;
    atomic_uint passed;
};

bool failpoint_armed;                   /* tidy: set once */
static struct point points[POINTS_MAX]; /* tidy: set once, but for the counters */
static unsigned point_count;            /* tidy: set once */
static const char *when;                /* tidy: set once; of the environment, or NULL: always */

/* "NAME=ACTION@N", `bytes` long. */
static bool read_point(const char *text, size_t bytes, struct point *out)
{
    char action[8] = "";
    char one[POINT_NAME_BYTES + 32];
    unsigned at = 1;
    if (bytes >= sizeof one) {
        return false;
    }
    memcpy(one, text, bytes);
    one[bytes] = '\0';
    int n = sscanf(one, "%63[a-z0-9._-]=%7[a-z]@%u", out->name, action, &at);
    bool is_kill = strcmp(action, "kill") == 0;
    out->kill = is_kill;
    out->at = at;
    return n >= 2 && (n == 3) == (strchr(one, '@') != NULL) &&
           (is_kill || strcmp(action, "fail") == 0);
}

bool failpoint_setup(void)
{
    const char *text = getenv("OXBOW_FAILPOINTS");
    while (text != NULL && *text != '\0') {
        size_t bytes = strcspn(text, ",");
        if (point_count == POINTS_MAX || !read_point(text, bytes, &points[point_count])) {
            log_event(LOG_ERROR, "failpoint.malformed", "text=\"%s\" expected=NAME=kill|fail[@N]",
                      text);
            return false;
        }
        point_count++;
        text += bytes + (text[bytes] == ',');
    }
    failpoint_armed = point_count > 0;
    when = getenv("OXBOW_FAILPOINTS_WHEN");
    return true;
}

bool failpoint_hit(const char *name)
{
    for (unsigned i = 0; i < point_count; i++) {
        struct point *p = &points[i];
        if (strcmp(p->name, name) != 0 || (when != NULL && access(when, F_OK) != 0) ||
            (atomic_fetch_add(&p->passed, 1) + 1 != p->at && p->at != 0)) {
            continue;
        }
        log_event(LOG_WARN, "failpoint.hit", "name=%s action=%s", name, p->kill ? "kill" : "fail");
        if (p->kill) {
            raise(SIGKILL);
        }
        return true;
    }
    return false;
}
