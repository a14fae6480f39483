/* pe/infer/cl/recipe.h - how a node becomes launches of kernels.
 *
 * A recipe looks at one node and either declines (recipe_decline: the reference takes it) or asks
 * the builder for launches: the kernel's text and macros, its operands, its sizes.  A macro makes
 * another program, which takes up to a second to compile: what the inner loops need as a constant
 * is a macro, every other size an argument.
 *
 * Arguments of a kernel: for each operand a pointer and an offset in elements (`ulong`), in the
 * order of the calls; then the sizes (`uint`); then `count` (`uint`), which is rows * per_row for
 * what is batched.
 *
 * Threads: compiling runs on a helper thread; a step is run by one thread at a time. */
#ifndef OXB_PE_INFER_CL_RECIPE_H
#define OXB_PE_INFER_CL_RECIPE_H

#include "core/strbuf.h"
#include "pe/infer/backend.h"
#include "pe/infer/cl/shared.h"
#include "pe/infer/cl/tune.h"
#include "pe/infer/fuse.h"

#define LAUNCHES_MAX 3
#define OPERANDS_MAX 24
#define SIZES_MAX 48

struct device { /* one instance's; backend.h */
    struct ocl_devices *all;
    struct ocl_device *ocl;
    bool tune;
    uint64_t gently_until_us; /* compiler.h: compile apart, and gently up to then; 0: here */
    const struct tile *tile;  /* tune.h: forced by a trial; NULL: the device's */
    char name[256];
};

struct arena { /* with a queue of its own, so that several batches can be under way */
    struct device *device;
    cl_command_queue queue;
    cl_mem mem;
    size_t bytes;
    void *host;     /* unified: the memory itself; else a pinned mirror of it */
    cl_mem pinned;  /* not unified: what `host` is a map of */
    bool writing;   /* not unified: a copy from `host` may be under way */
    cl_mem scratch; /* of the kernels, one after the other; grows to what the greediest wants */
    size_t scratch_bytes;
};

struct operand {
    enum { OPERAND_CONST, OPERAND_ARENA, OPERAND_SCRATCH } kind;
    uint64_t offset;             /* elements */
    struct ocl_shared *constant; /* OPERAND_CONST; the launch holds it */
};

struct launch {
    /* fixed by the recipe */
    struct ocl_shared *program;
    cl_kernel kernel;
    char *text;        /* macros and functions, without the prelude */
    const char *entry; /* the kernel's name; static */
    struct operand operands[OPERANDS_MAX];
    uint32_t operand_count;
    uint32_t sizes[SIZES_MAX];
    uint32_t size_count;
    uint32_t per_row; /* units per row of the batch; all units when not batched */
    bool batched;
    uint32_t divide[2]; /* units per work-group along dim 0 and 1; 0: `groups` says how many */
    size_t groups[2];
    size_t local[2];
};

struct step {
    struct device *device;
    struct launch launches[LAUNCHES_MAX];
    uint32_t launch_count;
    bool built; /* its launches have their programs */
    size_t scratch_bytes;
    /* what the kernels' arguments were last set to */
    struct arena *arena;
    cl_mem scratch;
    int64_t rows;
};

/* ---- for recipes */

struct builder {
    struct device *device;
    const struct step_spec *spec;
    struct step *step;
    struct strbuf text; /* macros of the launch being described */
    struct fail *fail;
    enum err err; /* the first error; later calls do nothing */
};

/* A unit is what `count` counts: a line of a matrix, an image, an element. */
struct work {
    uint32_t per_row; /* units per row, or in all */
    bool batched;
};

enum err recipe_decline(struct builder *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* recipe_define - `#define name value`, before the text of the kernel. */
void recipe_define(struct builder *b, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* recipe_float - a macro that is exactly that float, infinities and NaN included. */
void recipe_float(struct builder *b, const char *name, float v);
/* recipe_launch - the next launch; its operands follow. */
struct launch *recipe_launch(struct builder *b, struct work w);
void recipe_place(struct builder *b, struct launch *l, const struct place *p);
void recipe_weights(struct builder *b, struct launch *l, const struct ocl_pack *p);
/* recipe_scratch - floats for the kernel alone, `elements` for each of its work-groups. */
void recipe_scratch(struct builder *b, struct launch *l, uint64_t elements);
void recipe_size(struct builder *b, struct launch *l, uint64_t v);
/* recipe_build - it runs `kernel` of `file` with the macros said since the last one.  Compiled
 * before its first run, which most launches never see: a chain does their work. */
enum err recipe_build(struct builder *b, struct launch *l, const char *file, const char *kernel);

/* launch_build - the program and kernel of a launch whose `entry` is said; @text: all but the
 * prelude. */
enum err launch_build(struct device *d, struct launch *l, const char *text, struct fail *f);

/* recipe_lines - the lines (all dims but the last) of a batched or fixed place. */
struct work recipe_lines(const struct place *p);
/* recipe_work - units of `elements` elements each. */
struct work recipe_work(const struct place *p, size_t elements);
bool recipe_is_f32(const struct place *p); /* there, and f32 */
/* recipe_act - macros ACT, ACT_A, ACT_B from the node's attributes; declines unknown ones. */
enum err recipe_act(struct builder *b);

/* recipe_in - input i of the node, or NULL when it is left out. */
const struct place *recipe_in(const struct builder *b, uint32_t i);
int64_t recipe_attr_i(const struct node *n, const char *name, int64_t fallback);
float recipe_attr_f(const struct node *n, const char *name, float fallback);
const char *recipe_attr_s(const struct node *n, const char *name, const char *fallback);

struct recipe {
    const char *op;
    const char *domain; /* "" or OXBOW_DOMAIN */
    enum err (*cook)(struct builder *b);
};
/* chain_join - backend.h's `join`. */
enum err chain_join(struct device *d, struct step *const *steps, uint32_t *count, struct step **out,
                    struct fail *f);

extern const struct recipe recipes_gemm[]; /* each ends with op == NULL */
extern const struct recipe recipes_conv[];
extern const struct recipe recipes_map[];
extern const struct recipe recipes_line[];
extern const struct recipe recipes_rnn[];

#endif
