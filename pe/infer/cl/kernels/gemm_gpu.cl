/* Y[lines, N] = act(X[lines, K] * W[K, N] + bias [+ add]) in tiles of local memory, for GPUs.
 *
 * Macros: BIAS (0 or 1), ADD (1: a matrix of Y's shape is added before the activation), WI_N
 * (work-items along a line), WI_M (lines of one), TILE_M (lines of a group), KT (steps of K that are
 * fetched together).
 * A work-group makes TILE_M lines by NR columns, a work-item WI_M lines by one vector: the operands
 * of KT steps are fetched together and then used by all.  W and bias lie as for CPUs, in panels of
 * NR columns filled with zeros, so only lines, the end of K and the stores need a guard. */
#define gemm_end PART(gemm_end)
#define gemm PART(gemm)

#define NR (WI_N * LANES)
#define GROUP (WI_N * TILE_M / WI_M)

static void gemm_end(VF v, global const float *bias, global const float *add, global float *y,
                     uint n)
{
#if BIAS
    v += VLOAD(bias);
#endif
#if ADD
    v += load_part(add, n, 0.0f);
#endif
    store_part(activate(v), y, n);
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
gemm(global const float *x, ulong x_at, global const float *w, ulong w_at,
     global const float *bias, ulong bias_at,
#if ADD
     global const float *add, ulong add_at,
#endif
     global float *y, ulong y_at, uint N, uint K, uint lines)
{
    local float xs[KT * TILE_M], ws[KT * NR];
    uint item = get_local_id(0), panel = get_group_id(1);
    uint m0 = get_group_id(0) * TILE_M, m = item / WI_N * WI_M, n = item % WI_N * LANES;
    w += w_at + (ulong)panel * K * NR;
    VF acc[WI_M];
    UNROLL for (uint i = 0; i < WI_M; i++)
    {
        acc[i] = (VF)(0.0f);
    }
    for (uint k0 = 0; k0 < K; k0 += KT) {
        uint depth = min(K - k0, (uint)KT);
        for (uint i = item; i < KT * TILE_M; i += GROUP) {
            uint line = m0 + i / KT, k = i % KT;
            bool there = line < lines && k < depth;
            xs[k * TILE_M + i / KT] = there ? x[x_at + (ulong)line * K + k0 + k] : 0.0f;
        }
        for (uint i = item; i < depth * NR; i += GROUP) {
            ws[i] = w[(ulong)k0 * NR + i];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint k = 0; k < depth; k++) {
            VF b = VLOAD(ws + k * NR + n);
            UNROLL for (uint i = 0; i < WI_M; i++)
            {
                acc[i] = fma((VF)(xs[k * TILE_M + m + i]), b, acc[i]);
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    uint column = panel * NR + n;
    for (uint i = 0; i < WI_M && m0 + m + i < lines && column < N; i++) {
        ulong at = (ulong)(m0 + m + i) * N + column;
#if ADD
        global const float *other = add + add_at + at;
#else
        global const float *other = y;
#endif
        gemm_end(acc[i], bias + bias_at + column, other, y + y_at + at,
                 min(N - column, (uint)LANES));
    }
}
