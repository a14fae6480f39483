/* pe/instance.h - struct oxb_pe as the files that implement the SDK see it. */
#ifndef OXB_PE_INSTANCE_H
#define OXB_PE_INSTANCE_H

#include "core/limits.h"
#include "core/name.h"
#include "core/strbuf.h"
#include "pe/host.h"

#include <jansson.h>
#include <stdatomic.h>

struct oxb_blob {
    struct strbuf bytes;
    struct pe_file *files; /* to be synced */
    size_t file_count;
};

struct oxb_metric {
    struct oxb_metric *next;
    char *name;
    char *doc;
    _Atomic int64_t value;
};

struct out_port {
    struct oxb_pe *pe;
    unsigned index;
    const struct oxb_schema *schema;
    bool connected;
    struct builder writer;                   /* zeroed until oxb_writer asks for it */
    uint32_t writer_mark;                    /* rows in it before a careful call began */
    const struct oxb_schema *derived_from;   /* what `derive_map` was made for; NULL: nothing */
    int16_t *derive_map;                     /* [schema->field_count] */
};

struct outgoing {
    unsigned port;
    uint32_t before; /* its first rows, which calls before had written */
    struct batch *batch;
};

enum pe_phase { PE_NEW, PE_PREPARED, PE_STARTED, PE_STOPPED };

struct oxb_pe {
    /* fixed after pe_new */
    const struct oxb_pe_type *type;
    struct plugin *plugin;                   /* whose reference keeps `type` there; or NULL */
    struct pe_host host;
    struct pool *pool;
    struct name name;            /* changes when the topology renames the PE */
    char *base_dir;
    char *data_dir; /* may be NULL */
    char *uid;
    bool checkpoints;
    uint64_t generation;
    bool output_stays;
    bool joins;
    unsigned index;
    _Atomic unsigned parallelism; /* likewise, when it is scaled */
    const struct oxb_schema **in_schemas;    /* [input_count] */
    unsigned input_count;
    struct out_port *outputs;
    unsigned output_count;
    bool dead_letters;           /* the last of them is for these */
    json_t *params;
    struct oxb_state **states;
    unsigned state_count;
    struct oxb_const *consts;
    void *self;
    /* one callback */
    enum pe_phase phase;
    unsigned depth;              /* > 0 while a callback runs */
    struct batch *input;         /* the batch being processed; NULL: none */
    struct batch **derived;      /* views made in this callback */
    size_t derived_count, derived_capacity;
    struct batch *pending;       /* forwarded last; emitted before anything else leaves */
    unsigned pending_port;
    int64_t at_us;               /* stamp of what is written now; 0: not known yet */
    int64_t now_us;              /* wall clock, read in this callback; 0: not yet */
    uint64_t mono_us;            /* monotonic, likewise */
    uint64_t skew_us;            /* added to both clocks by the harness */
    uint64_t epoch;              /* of the checkpoint whose snapshot runs; 0: none */
    bool failed;                 /* oxb_fail ran and no callback has reported it yet */
    bool row_named;              /* and oxb_failed_at: which row it was */
    uint32_t failed_row;
    bool careful;                /* what this call emits leaves when it has succeeded: attempt.c */
    struct outgoing *outbox;     /* until then */
    size_t outbox_count, outbox_capacity;
    struct strbuf bad_input;     /* of oxb_fail_input, cut to BAD_INPUT_BYTES_MAX */
    bool has_bad_input;          /* reported with the failure of the last callback */
    uint16_t sel[BATCH_ROWS_MAX];
    /* any thread */
    _Atomic(struct oxb_metric *) metrics;
    struct pe_counters counters;
    char error[512];
    struct strbuf timer_key;     /* of the key_timer call that runs */
};

/* params.c */
enum err params_load(struct oxb_pe *pe, const char *json, const char *artifact,
                     struct fail *f);
void params_free(struct oxb_pe *pe);
/* params_fallback - the default as JSON, or NULL; the caller drops the reference. */
json_t *params_fallback(const struct oxb_param *p);
/* emit.c */
void emit_begin(struct oxb_pe *pe, struct batch *input TAKES);
void emit_end(struct oxb_pe *pe);   /* emits what is pending, frees the callback's views */
void emit_fini(struct oxb_pe *pe);  /* drops what the writers hold */
void emit_batch(struct oxb_pe *pe, unsigned port, struct batch *batch TAKES);
/* emit_before_change - call it before a view or its columns change: M2 of emit.c. */
void emit_before_change(struct batch *b);
/* emit_take_back - after a careful call that failed: only what calls before it had written leaves;
 * emit_let_go - what it emitted does. */
void emit_take_back(struct oxb_pe *pe);
void emit_let_go(struct oxb_pe *pe);
/* instance.c: turns the end of a callback into its result. */
int callback_end(struct oxb_pe *pe, int result);
/* const.c */
void consts_free(struct oxb_pe *pe);
/* metrics.c */
void metrics_free(struct oxb_pe *pe);

#endif
