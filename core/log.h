/* core/log.h - one line per event on stderr: `time level program event key=value ...`.
 *
 * Threads: any; one write(2) per line.  The event name is a stable dotted word that grep finds. */
#ifndef OXB_CORE_LOG_H
#define OXB_CORE_LOG_H

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* log_setup - once, before threads start.  @program: static text put on every line.
 * The level comes from $OXBOW_LOG (debug, info, warn, error; default warn for the CLI). */
void log_setup(const char *program, enum log_level fallback);
void log_event(enum log_level level, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
