/* core/limits.h - every bound of the engine, in one place, with its unit and its reason.
 *
 * Invariants: nothing that comes from outside (files, sockets, plug-ins) is sized by anything but
 *             these.  Relations between limits are asserted below. */
#ifndef OXB_CORE_LIMITS_H
#define OXB_CORE_LIMITS_H

#include <assert.h>

/* ---- names ---- */
#define NAME_BYTES_MAX 63           /* topology, PE, stream, port, field, worker: a DNS label */
#define PATH_BYTES_MAX 4096         /* PATH_MAX of Linux */

/* ---- topology YAML ---- */
#define YAML_BYTES_MAX (1u << 20)   /* a person writes it; 1 MiB is 20,000 lines */
#define YAML_DEPTH_MAX 32           /* libyaml is quadratic in depth, so the cap is ours */
#define YAML_EVENTS_MAX 100000
#define YAML_SCALAR_BYTES_MAX (64u << 10)
#define DIAGS_MAX 100               /* problems reported per file; the rest is counted */
#define PES_MAX 1000                /* per topology */
#define STREAMS_MAX 4000            /* per topology */
#define INSTANCES_MAX 10000         /* per topology */
#define CHANNELS_MAX (1u << 18)     /* per topology; 512 x 512 instances all to all */
#define PARALLELISM_MAX 1024        /* instances of one PE */
#define FIELDS_MAX 256              /* per schema; above some 500 rows would beat columns */
#define DIMS_MAX 8                  /* of a tensor field */
#define TENSOR_ELEMENTS_MAX (1u << 22) /* 16 MiB of f32 in one tuple */
#define PORTS_MAX 16                /* inputs or outputs of one PE */
#define PARAMS_MAX 64               /* parameters of one PE */
#define KEY_FIELDS_MAX 8            /* `by: [F, G, ...]` */
#define KEY_GROUPS 256              /* per PE; top eight bits of the hash: state.h */

/* ---- tuples and batches ---- */
#define BATCH_ROWS_MAX 1024         /* research: the chain does not care between 64 and 4096 */
#define BATCH_BYTES_SOFT (64u << 10)/* a batch is closed when it reaches this */
#define TUPLE_BYTES_MAX (16u << 20) /* one tuple; it then travels in a batch of its own */
#define BATCH_BYTES_MAX (TUPLE_BYTES_MAX + (1u << 20)) /* any batch, any frame */

/* ---- channels ---- */
#ifndef RING_BATCHES                /* the simulator takes smaller ones */
#define RING_BATCHES 8              /* per channel: 8 x 64 KiB in flight covers 1 ms at 500 MB/s */
#endif
#define RING_RESERVED 2             /* slots kept for marker and end/close, which need no credit */
#ifndef SQUEEZE_BATCHES
#define SQUEEZE_BATCHES 2           /* slices that may wait in a channel inside a covering set */
#endif
#define SQUEEZE_SLICE_NS 2000000    /* of work that a slice of a batch is, in its slowest member, */
#define SQUEEZE_ROWS_MIN 64         /* but no fewer rows: what a call costs must not be seen */
#define SQUEEZE_MS 2000             /* a change is READY after that, squeezed or not */
#define LINGER_US 1000              /* an open batch waits at most this long on a busy instance */

/* ---- tuples on which a PE fails ---- */
#define HELD_BYTES_MAX (16u << 20)  /* input that waits at a held instance, beside its rings */
#define CRASH_TUPLE_BYTES 4096       /* of the tuple as JSON in the record of a crash */
#define CRASHES_MIN 3               /* by an instance from one checkpoint, then on_error applies */
#define KILLERS_MAX 64              /* tuples known to kill a worker, per instance */
#define CARE_MS 60000               /* tuples are given one by one for so long, if none kills */
#define HELD_TUPLE_BYTES (64u << 10) /* of the tuple as JSON in status and dead letters */
#define BAD_INPUT_BYTES_MAX (64u << 10) /* of what a source could not read, in a dead letter */
#define DEAD_FILE_BYTES_MAX (64u << 20) /* of a file of dead letters; then another is begun, once */
#define SOURCE_FAILURES_MAX 1000    /* in a row that a policy drops, before the source has failed */
#define STUCK_AFTER_MS 30000        /* default of on_error.stuck_after: no call takes so long */
#define STUCK_AFTER_US_MIN 100000   /* below a heartbeat nobody would see it */
#define CUT_PROBE_MS 10000          /* a member of a change must come to a batch boundary in it */

/* ---- state on the move ---- */
#define STATE_SLICE_BYTES (48u << 10)  /* told in one turn of the giver: some 50 us */
#define STATE_MESSAGE_BYTES (56u << 10) /* a slice with its last entry: as a rule one message */
#define STATE_SLICES_AHEAD 8           /* told in so many turns before the loop is asked again */
#define STATE_WINDOW 24                /* messages of a worker's moves on their way: 1.2 MiB, which
                                        * is what data may have to wait behind */
#define STATE_ROUND_MS 5               /* between rounds while everything waits for the cut */
/* to catch up with the giver; each is half the last or less */
#define STATE_ROUNDS_MAX 16
#define STATE_BEHIND_MAX 65536         /* entries that may be left for the cut then: some 2 MiB */

/* ---- executors ---- */
#define EXECUTORS_MAX 256           /* shared and private together, per worker */
#ifndef RUN_BATCHES_MAX
#define RUN_BATCHES_MAX 16          /* batches one instance takes before the next one runs */
#endif
#define KEY_TIMERS_MAX 256          /* timers of keys that one instance calls before that */
#define RUN_NS_MAX 2000000          /* and in which time: others of this executor wait */
#define REST_TURNS 64               /* of a source without a row, before it is asked less often, */
#define REST_TURN_NS 200000         /* each shorter than this; */
#define REST_US 1000                /* and then so often */
#define PROMPT_LOOP_US 100          /* time slice of a loop: it is waited for, and is soon done */
#define PROMPT_EXECUTOR_US 700      /* of an executor: woken beside busy ones it cuts soon */
#define SPIN_NS 4000                /* before sleeping; a wake-up costs about 22 us */
#define FUSION_DEPTH_MAX 32         /* PEs in one chain; bounds the stack */

/* ---- models ---- */
#define MODEL_BYTES_MAX (256u << 20) /* an ONNX file; as an artifact it has the same bound */
#define MODEL_DEPTH_MAX 64           /* protobuf messages in messages; protobuf-c recurses */
#define MODEL_NODES_MAX 20000        /* subgraphs counted in; large networks have 10,000 */
#define MODEL_VALUES_MAX 60000       /* some 300 bytes each, in every copy for a batch size */
#define MODEL_READS_MAX 200000       /* inputs of nodes */
#define MODEL_ATTRS_MAX 64           /* per node */
#define MODEL_DOMAINS_MAX 32         /* of operators */
#define FOLD_BYTES_BASE (4u << 20)   /* that folding may add to constants, beside their own size */
#define FOLD_HEAVY_BYTES_MAX (64u << 10) /* inputs and outputs of a heavy operator that is folded */
#define TENSOR_RANK_MAX 8
#ifndef TENSOR_BYTES_MAX /* a fuzzer has less, and fewer steps: its models are to end soon */
#define TENSOR_BYTES_MAX (1ull << 30) /* one value while a model runs, and its scratch */
#endif
#define ARENA_BYTES_MAX (4ull << 30)  /* all values of one compiled model */
#define INFER_BATCH_MAX 1024          /* rows of one inference; as many as a batch of tuples has */
#ifndef INFER_LOOP_STEPS_MAX
#define INFER_LOOP_STEPS_MAX (1u << 24) /* operators run by loops in one inference; some 10 seconds
                                         * of small ones, 500 tokens of a decoder of 30,000 */
#endif
#define INFER_BUCKETS_MAX 8           /* programs per model, one per batch size */

/* ---- control plane ---- */
#define FRAME_BYTES_MAX (1u << 20)  /* control frame body */
#define FRAME_PRE_AUTH_BYTES_MAX (64u << 10) /* before HELLO is accepted */
#define FRAME_DEPTH_MAX 16
#define FRAME_OBJECTS_MAX (64u << 10)
#define LARGE_BYTES_MAX (24u << 20) /* of a message cut into frames: 262,144 channels and more */
#define LARGE_OBJECTS_MAX (4u << 20)
#define FRAGMENT_BYTES (256u << 10) /* of it in one frame */
#define HANDSHAKE_MS 5000
#define HEARTBEAT_MS 500
#define PEER_DEAD_MS 3000           /* silence after which a connection is given up */
#define WORKER_LOST_MS 1000         /* closed and not back: a killed one is replaced within 2 s */
#define LOCK_WAIT_MS 2000           /* for a process that is just ending to leave its folder */
#define TCP_USER_TIMEOUT_MS 3000    /* half-open links found by the kernel while we write */
#define RECONNECT_MS_MIN 50
#define RECONNECT_MS_MAX 2000
#define CONN_OUT_BYTES_MAX (8u << 20) /* queued output after which a control peer is dropped */
#define WORKERS_MAX 1000
#define FRUITLESS_RECOVERIES_MAX 20 /* in a row, none of which gets to another checkpoint */
#define RECOVERIES_KEPT 200         /* receipts of recoveries per topology */
#define VERSIONS_KEPT 1000          /* per topology, with receipts; older ones are forgotten */
#define GO_AGAIN_MS 2000            /* a GO without DONE is sent again after this */
#define SLOTS_DEFAULT 64
#define LABELS_MAX 32

/* ---- HTTP ---- */
#define HTTP_HEADER_BYTES_MAX (16u << 10)
#define HTTP_BODY_BYTES_MAX (1u << 20)
#define HTTP_ARTIFACT_BYTES_MAX (256u << 20)
#define HTTP_REQUEST_MS_MAX 10000   /* whole request; evhttp's own does not stop slow loris */
#define HTTP_CONNS_MAX 64
#define EVENTS_KEPT 2048            /* for readers that come back */
#define EVENT_READERS_MAX 24        /* below HTTP_CONNS_MAX: readers do not shut out requests */
#define EVENTS_BYTES_MAX (1u << 20) /* of all that are kept */
#define EVENT_READER_BYTES_MAX (2u << 20) /* that wait for a reader before it is dropped */
#define EVENT_BEAT_MS 5000          /* a comment on a silent line, so that dead readers show */
#define CHANGES_WAITING_MAX 16      /* requests that wait for a decided change; each is a conn */

/* ---- OpenCL ---- */
#define CL_BINARY_BYTES_MAX (64u << 20) /* compiled kernels of one operator; PoCL: 36 KB each */
#define CL_CHAIN_MAX 8              /* steps joined to one launch; each makes its program larger */
#define CL_TUNE_MS 50               /* spent on trying variants of one operator, beforehand */

#define ARTIFACT_CHUNK_BYTES (256u << 10)

/* ---- checkpoints ---- */
#define BLOCK_BYTES_MAX (1u << 30)  /* one key group, or one PE's own snapshot */
#define SNAPSHOT_CHUNK_BYTES (256u << 10) /* of a snapshot on its way */
#define SNAPSHOT_TURNS 128          /* checkpoints in which every group that changes is saved whole
                                     * once: what a restore reads of older files stays small */
#define SNAPSHOT_CHAIN_MAX 384      /* files of one instance; a restore reads them all: those of all
                                     * turns, and one for each group that has not changed since */
#define SNAPSHOT_SLICE_BYTES (64u << 10) /* told by an instance between two batches: some 30 us */
#define SNAPSHOT_SHARE 16           /* at most 1/16 of its time, where slices are more than one, */
#define SNAPSHOT_TURN_US_MAX 1000   /* and not more at a time */
#define SNAPSHOT_AHEAD_BYTES (4u << 20) /* told and not yet stored, of one instance; */
#define SNAPSHOT_AHEAD_ALL (64u << 20)  /* when it is so much of all, */
#define SNAPSHOT_AHEAD_MIN (256u << 10) /* only this of each */
#define SNAPSHOT_BEGUN_MAX 4        /* files begun before their instances have told everything */
#define SNAPSHOT_IO_MS 30000        /* no answer for so long: the upload is given up */
#define SNAPSHOT_UPLOADS_MAX 64     /* at the master, at a time */
#define RETAIN_BYTES_DEFAULT (64u << 20) /* of sent batches, per worker and topology: a second at
                                          * 64 MB/s.  What is over it makes recoveries larger */
#define RETAIN_BYTES_MAX (1ull << 40)

static_assert(HEARTBEAT_MS * 3 <= PEER_DEAD_MS, "three heartbeats may be missed");
static_assert(PEER_DEAD_MS <= 4000, "a half-open link is found within 4 s");
static_assert(EVENTS_BYTES_MAX * 2 <= EVENT_READER_BYTES_MAX, "who comes back is not dropped");
static_assert(EVENT_READERS_MAX + CHANGES_WAITING_MAX < HTTP_CONNS_MAX, "requests get through");
static_assert(BATCH_ROWS_MAX <= 65535, "selections are uint16_t");
static_assert(FRAGMENT_BYTES < FRAME_BYTES_MAX, "a fragment fits a control frame");
static_assert(STATE_MESSAGE_BYTES + 4096 < FRAME_PRE_AUTH_BYTES_MAX, "a slice fits a link message");
static_assert(ARTIFACT_CHUNK_BYTES < FRAME_BYTES_MAX, "a chunk fits a control frame");
static_assert(SNAPSHOT_CHUNK_BYTES < FRAME_BYTES_MAX, "a chunk fits a control frame");

#endif
