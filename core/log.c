/* core/log.c - the line logger.
 *
 * The two variables below are the only mutable ones at file scope in core/: they are written once,
 * by log_setup, before any thread exists (tests/tidy.sh lists them as the exception). */
#include "core/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const char *log_program = "oxbow"; /* tidy: set once */
static enum log_level log_min = LOG_WARN; /* tidy: set once */

void log_setup(const char *program, enum log_level fallback)
{
    log_program = program;
    log_min = fallback;
    const char *wanted = getenv("OXBOW_LOG");
    for (int i = 0; wanted != NULL && i < 4; i++) {
        if (strcmp(wanted, level_names[i]) == 0) {
            log_min = (enum log_level)i;
        }
    }
}

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
    if (level < log_min) {
        return;
    }
    char line[1024];
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    size_t used = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &tm);
    used += (size_t)snprintf(line + used, sizeof line - used, ".%06ldZ %s %s %s ",
                             now.tv_nsec / 1000, level_names[level], log_program, event);
    va_list ap;
    va_start(ap, fmt);
    int more = vsnprintf(line + used, sizeof line - used - 1, fmt, ap);
    va_end(ap);
    used += more < 0 ? 0 : (size_t)more;
    if (used > sizeof line - 2) {
        used = sizeof line - 2;
    }
    for (size_t i = 0; i < used; i++) {
        if (line[i] == '\n' || line[i] == '\r') {
            line[i] = ' ';
        }
    }
    line[used++] = '\n';
    if (write(STDERR_FILENO, line, used) < 0) {
        return; /* nobody left to tell */
    }
}
