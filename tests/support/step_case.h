/* tests/support/step_case.h - one node on a backend: operands in an arena, fences around them.
 *
 * A case is described operand by operand, then run.  Behind every value in the arena lies a fence
 * that the step must leave alone; inputs must come out as they went in. */
#ifndef OXB_TESTS_SUPPORT_STEP_CASE_H
#define OXB_TESTS_SUPPORT_STEP_CASE_H

#include "core/prng.h"
#include "pe/infer/backend.h"

#define CASE_VALUES_MAX 12

struct case_value {
    struct tensor data;   /* inputs: what goes in; outputs: what came out */
    struct place place;
    bool is_output;
};

struct step_case {
    struct device *device;
    int64_t batch;        /* 0: nothing is batched */
    struct graph *graph;
    struct case_value values[CASE_VALUES_MAX]; /* inputs, then outputs */
    uint32_t count;
    struct node *node;    /* after case_node */
    struct prng random;
};

/* case_open - a device for all cases of a program; NULL when there is none of that kind.
 * @dir: for caches; stays. */
struct device *case_open(const char *kind, const char *dir);

void case_init(struct step_case *c, struct device *d, int64_t batch, uint64_t seed);
void case_fini(struct step_case *c);
/* case_input - f32, random in [-1, 1); dims[0] is `batch` times the scale when batched. */
float *case_input(struct step_case *c, bool batched, unsigned rank, const int64_t *dims);
float *case_const(struct step_case *c, unsigned rank, const int64_t *dims);
void case_absent(struct step_case *c); /* an optional input left out */
void case_output(struct step_case *c, bool batched, unsigned rank, const int64_t *dims);
void case_unwanted(struct step_case *c); /* an output nobody wants */
/* case_node - after all operands; set attributes on the result. */
struct node *case_node(struct step_case *c, const char *domain, const char *op);
/* case_run - compile and run for `rows` rows, twice in a row; false: the backend declined. */
bool case_run(struct step_case *c, int64_t rows);
/* case_check - case_run, then compare with the operator's reference. */
void case_check(struct step_case *c, int64_t rows, float relative, float absolute);
const float *case_result(const struct step_case *c, unsigned output);
/* case_same - compare `count` floats; fails the test with the place of the worst difference. */
void case_same(const float *got, const float *want, size_t count, float relative, float absolute);

#endif
