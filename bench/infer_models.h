/* bench/infer_models.h - the models of infer_bench: one f32 input `x`, one f32 output `y`. */
#ifndef OXB_BENCH_INFER_MODELS_H
#define OXB_BENCH_INFER_MODELS_H

#include <stdbool.h>
#include <stdint.h>

struct bench_model {
    const char *name;
    bool (*write)(const char *path);
    int64_t in[4], out[4]; /* of one row, without the batch */
    unsigned in_rank, out_rank;
};

/* bench_write_mlp - f32[N,64] -> f32[N,10] through two dense layers of `hidden`. */
bool bench_write_mlp(const char *path, int64_t hidden);
extern const struct bench_model bench_models[]; /* ends with name == NULL */

#endif
