/* pe/infer/load.h - an ONNX file's bytes to a graph, refusing what is wrong or hostile.
 *
 * Invariants: L1 a graph that comes out satisfies G1-G3, whatever the bytes were.
 *             L2 memory and time are bounded by the file's size (proto.c, Q2) and MODEL_ limits.
 * Threads:    any; nothing shared. */
#ifndef OXB_PE_INFER_LOAD_H
#define OXB_PE_INFER_LOAD_H

#include "pe/infer/graph.h"

#define OPSET_MIN 1 /* the rows of the operators say what of 1 to 5 they cover */
#define OPSET_MAX 22

/* graph_load - @out: caller frees.  Operators nobody knows are no error here: their nodes have
 * row == NULL, so that a check can list them all.
 * Errors: ERR_INVALID the file is wrong; ERR_LIMIT too large or deep; ERR_NOTFOUND legal ONNX that
 * is not supported here (strings, sequences, external data, opsets outside OPSET_MIN..MAX). */
MUST_CHECK enum err graph_load(const void *bytes, size_t size, struct graph **out,
                               struct fail *f);

#endif
