/* Small products of computed matrices, one after the other: Y = act(ALPHA * A[M,K] x B[K,N]).
 *
 * Macros: TRANS_B (B is [N,K]), ALPHA, ACT.  B is first laid into `panel` as [K][NP], NP being N
 * rounded up to vectors, so that tails need no care within the sums. */
#define bmm_lines_8 PART(bmm_lines_8)
#define bmm_lines_1 PART(bmm_lines_1)
#define lay_out PART(lay_out)
#define bmm PART(bmm)

#define BMM_LINES(R)                                                                              \
    static void bmm_lines_##R(global const float *a, global const float *b, global float *y,      \
                              uint k_count, uint np, uint n, uint width)                          \
    {                                                                                             \
        VF acc[R];                                                                                \
        UNROLL for (uint i = 0; i < R; i++)                                                       \
        {                                                                                         \
            acc[i] = (VF)(0.0f);                                                                  \
        }                                                                                         \
        for (uint k = 0; k < k_count; k++) {                                                      \
            VF v = VLOAD(b + (ulong)k * np);                                                      \
            UNROLL for (uint i = 0; i < R; i++)                                                   \
            {                                                                                     \
                acc[i] = fma((VF)(a[(ulong)i * k_count + k]), v, acc[i]);                         \
            }                                                                                     \
        }                                                                                         \
        UNROLL for (uint i = 0; i < R; i++)                                                       \
        {                                                                                         \
            store_part(activate(acc[i] * (VF)(ALPHA)), y + (ulong)i * n, width);                  \
        }                                                                                         \
    }
BMM_LINES(8)
BMM_LINES(1)

static void lay_out(global const float *b, global float *panel, uint k_count, uint n, uint np)
{
    for (uint k = 0; k < k_count; k++) {
        for (uint j = 0; j < np; j += LANES) {
#if TRANS_B
            for (uint i = j; i < j + LANES; i++) {
                panel[k * np + i] = i < n ? b[(ulong)i * k_count + k] : 0.0f;
            }
#else
            uint have = n > j ? min(n - j, (uint)LANES) : 0;
            VSTORE(load_part(b + (ulong)k * n + j, have, 0.0f), panel + k * np + j);
#endif
        }
    }
}

CPU_KERNEL bmm(global const float *a, ulong a_at, global const float *b, ulong b_at,
               global float *scratch, ulong scratch_at, global float *y, ulong y_at, uint m, uint n,
               uint k_count, uint np, uint matrices)
{
    global float *panel = scratch + (ulong)GROUP * k_count * np;
    for TILES (t, matrices) {
        global const float *at = a + a_at + (ulong)t * m * k_count;
        global float *yt = y + y_at + (ulong)t * m * n;
        lay_out(b + b_at + (ulong)t * k_count * n, panel, k_count, n, np);
        for (uint j = 0; j < n; j += LANES) {
            uint width = min(n - j, (uint)LANES);
            uint i = 0;
            for (; i + 8 <= m; i += 8) {
                bmm_lines_8(at + (ulong)i * k_count, panel + j, yt + (ulong)i * n + j, k_count, np,
                            n, width);
            }
            for (; i < m; i++) {
                bmm_lines_1(at + (ulong)i * k_count, panel + j, yt + (ulong)i * n + j, k_count, np,
                            n, width);
            }
        }
    }
}
