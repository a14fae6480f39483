/* bench/ort.h - onnxruntime as a peer, found at run time and never linked.
 *
 * The library is `libonnxruntime.so.1`, or what OXBOW_ORT names; npm's onnxruntime-node carries one
 * (`npm install --ignore-scripts onnxruntime-node`). */
#ifndef OXB_BENCH_ORT_H
#define OXB_BENCH_ORT_H

#include <stddef.h>
#include <stdint.h>

struct ort;         /* the library, one environment */
struct ort_session; /* a model with one input and one output, f32, for one batch */

struct ort_io {
    float *data; /* borrowed until ort_close */
    size_t count;
    const int64_t *dims;
    size_t rank;
};

struct ort *ort_load(char why[240]); /* NULL: not installed, or not as expected */
const char *ort_version(const struct ort *o);
struct ort_session *ort_open(struct ort *o, const char *path, int threads, struct ort_io in,
                             struct ort_io out, char why[240]);
void ort_run(struct ort_session *s); /* in -> out; exits with a message on an error */

#endif
