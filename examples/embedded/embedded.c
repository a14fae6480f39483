/* embedded.c - a program with a stream engine inside: it joins a cluster as a
 * worker, feeds a topology by function calls and gets the results by function calls.
 *
 *   embedded MASTER_HOST:PORT ORDERS
 *
 * The topology (topology.yaml) sums the amounts per customer; the program checks the sums against
 * its own. */
#include <oxbow/pe.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CUSTOMERS 100

enum { CUSTOMER, AMOUNT }; /* fields of the feed */
enum { RESULT_CUSTOMER, RESULT_SUM };

struct results { /* filled by the collector on a worker thread */
    pthread_mutex_t mutex;
    pthread_cond_t ended_changed;
    int64_t sums[CUSTOMERS];
    unsigned count;
    bool ended;
};

static void on_batch(void *arg, const struct oxb_batch *batch) /* NULL: the end */
{
    struct results *r = arg;
    pthread_mutex_lock(&r->mutex);
    if (batch == NULL) {
        r->ended = true;
        pthread_cond_signal(&r->ended_changed);
    } else {
        const int64_t *customers = oxb_i64s(batch, RESULT_CUSTOMER);
        const int64_t *sums = oxb_i64s(batch, RESULT_SUM);
        OXB_EACH (batch, i) {
            if (customers[i] >= 0 && customers[i] < CUSTOMERS) {
                r->sums[customers[i]] = sums[i];
                r->count++;
            }
        }
    }
    pthread_mutex_unlock(&r->mutex);
}

/* feed_orders - push `count` orders; want[] gets the sums as they ought to be. */
static int feed_orders(struct oxb_feed *feed, long count, int64_t want[CUSTOMERS])
{
    for (long i = 0; i < count; i++) {
        struct oxb_writer *w = oxb_feed_writer(feed);
        if (w == NULL) {
            return -1;
        }
        uint32_t row = oxb_row(w);
        int64_t customer = i * 7 % CUSTOMERS;
        oxb_put_i64(w, CUSTOMER, row, customer);
        oxb_put_i64(w, AMOUNT, row, i % 1000);
        oxb_commit(w);
        want[customer] += i % 1000;
    }
    int result = oxb_feed_flush(feed);
    oxb_feed_end(feed);
    return result;
}

static int check(struct results *r, const int64_t want[CUSTOMERS])
{
    pthread_mutex_lock(&r->mutex);
    while (!r->ended) {
        pthread_cond_wait(&r->ended_changed, &r->mutex);
    }
    bool same = r->count == CUSTOMERS && memcmp(r->sums, want, sizeof r->sums) == 0;
    printf("%s: %u sums, customer 0 has %lld\n", same ? "ok" : "FAILED", r->count,
           (long long)r->sums[0]);
    pthread_mutex_unlock(&r->mutex);
    return same ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct results results = {
        .mutex = PTHREAD_MUTEX_INITIALIZER,
        .ended_changed = PTHREAD_COND_INITIALIZER,
    };
    int64_t want[CUSTOMERS] = {0};
    char err[256] = "";
    if (argc != 3) {
        fprintf(stderr, "usage: embedded MASTER_HOST:PORT ORDERS\n");
        return 2;
    }
    struct oxb_feed *feed = oxb_feed_new("orders", "customer: i64, amount: i64");
    if (feed == NULL || oxb_collector_new("results", on_batch, &results) != 0) {
        fprintf(stderr, "error: cannot register the feed and the collector\n");
        return 1;
    }
    struct oxb_worker_options options = {
        .master = argv[1], .name = "embedded", .data = "work/data"};
    struct oxb_worker *worker = oxb_worker_start(&options, err, sizeof err);
    if (worker == NULL) {
        fprintf(stderr, "error: %s\n", err);
        return 1;
    }
    printf("joined %s\n", argv[1]);
    fflush(stdout);
    /* The first rows wait in the feed until the topology is deployed. */
    int code = feed_orders(feed, atol(argv[2]), want);
    if (code != 0) {
        fprintf(stderr, "error: the topology has stopped\n");
    } else {
        code = check(&results, want);
    }
    oxb_worker_wait(worker, 10000); /* the master has seen the topology to its end */
    oxb_worker_stop(worker);
    return code != 0;
}
