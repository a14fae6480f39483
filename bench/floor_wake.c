/* bench/floor_wake.c - what the system itself costs: waking a sleeping thread, copying memory. */
#include "bench/bench.h"
#include "core/clock.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define PACE_NS 50000u /* 20,000 a second */
#define BLOCK_BYTES (64u << 10)

struct ping {
    int there;
    int back;
    uint64_t count;
};

static void *answer(void *arg)
{
    struct ping *p = arg;
    for (uint64_t i = 0; i < p->count; i++) {
        uint64_t v;
        if (read(p->there, &v, sizeof v) != sizeof v || write(p->back, &v, sizeof v) != sizeof v) {
            break;
        }
    }
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool ask(const struct ping *p, double *us)
{
    for (uint64_t i = 0; i < p->count; i++) {
        uint64_t v = 1;
        struct timespec pace = {0, PACE_NS};
        nanosleep(&pace, NULL);
        uint64_t start = clock_now_ns();
        if (write(p->there, &v, sizeof v) != sizeof v || read(p->back, &v, sizeof v) != sizeof v) {
            return false;
        }
        us[i] = (double)(clock_now_ns() - start) / 2000.0;
    }
    return true;
}

struct result floor_wake(uint64_t round_trips)
{
    struct ping p = {eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC), round_trips};
    double *us = calloc(round_trips, sizeof *us);
    struct result r = result_fail("no eventfd, thread or memory");
    pthread_t thread;
    if (p.there >= 0 && p.back >= 0 && us != NULL &&
        pthread_create(&thread, NULL, answer, &p) == 0) {
        bool ok = ask(&p, us);
        pthread_join(thread, NULL);
        if (ok) {
            qsort(us, round_trips, sizeof *us, by_value);
            r = (struct result){.ok = true,
                                .value = us[round_trips / 2],
                                .value99 = us[round_trips * 99 / 100]};
        }
    }
    free(us);
    if (p.there >= 0) {
        close(p.there);
    }
    if (p.back >= 0) {
        close(p.back);
    }
    return r;
}

struct result floor_memcpy(uint64_t bytes)
{
    char *from = malloc(BLOCK_BYTES);
    char *to = malloc(BLOCK_BYTES);
    if (from == NULL || to == NULL) {
        free(from);
        free(to);
        return result_fail("out of memory");
    }
    memset(from, 1, BLOCK_BYTES);
    uint64_t start = clock_now_ns();
    for (uint64_t done = 0; done < bytes; done += BLOCK_BYTES) {
        memcpy(to, from, BLOCK_BYTES);
        __asm__ volatile("" : : "r"(to) : "memory"); /* the copy may not be left out */
    }
    double ns = (double)(clock_now_ns() - start);
    free(from);
    free(to);
    return (struct result){.ok = true, .value = (double)bytes / ns};
}
