/* Y[lines, N] = act(X[lines, K] * W[K, N] + bias [+ add]), W packed, any factor in it.
 *
 * Macros: MR (lines of a tile: 12, 8, 6 or 4), NV (vectors of a tile), MC (lines of a task), BIAS (0 or 1),
 * ADD (1: a matrix of Y's shape is added before the activation).
 * W lies in panels of NV * LANES columns, [panel][K][NV * LANES], the last one filled with zeros;
 * bias is as long as all panels. */
#define gemm_end PART(gemm_end)
#define gemm_tile_12 PART(gemm_tile_12)
#define gemm_tile_8 PART(gemm_tile_8)
#define gemm_tile_6 PART(gemm_tile_6)
#define gemm_tile_4 PART(gemm_tile_4)
#define gemm_tile_2 PART(gemm_tile_2)
#define gemm_line PART(gemm_line)
#define gemm_panel PART(gemm_panel)
#define act_panel PART(act_panel)
#define gemm PART(gemm)

#define NR (NV * LANES)

static void gemm_end(VF v, global const float *bias, global const float *add, global float *y,
                     uint n)
{
#if BIAS
    v += VLOAD(bias);
#endif
#if ADD
    v += load_part(add, n, 0.0f);
#endif
#if ACT_CHEAP
    v = activate(v);
#endif
    store_part(v, y, n);
}

/* The loop is unrolled by the compiler: R and NV are constants wherever this is inlined. */
#define TILE(R)                                                                                   \
    static void gemm_tile_##R(global const float *x, global const float *w,                       \
                              global const float *bias, global const float *add,                  \
                              global float *y, uint cols, uint N, uint K)                         \
    {                                                                                             \
        VF acc[R][NV];                                                                            \
        UNROLL for (uint i = 0; i < R; i++)                                                       \
        {                                                                                         \
            UNROLL for (uint j = 0; j < NV; j++)                                                  \
            {                                                                                     \
                acc[i][j] = (VF)(0.0f);                                                           \
            }                                                                                     \
        }                                                                                         \
        for (uint k = 0; k < K; k++) {                                                            \
            VF b[NV];                                                                             \
            UNROLL for (uint j = 0; j < NV; j++)                                                  \
            {                                                                                     \
                b[j] = VLOAD(w + k * NR + j * LANES);                                             \
            }                                                                                     \
            UNROLL for (uint i = 0; i < R; i++)                                                   \
            {                                                                                     \
                VF a = (VF)(x[i * K + k]);                                                        \
                UNROLL for (uint j = 0; j < NV; j++)                                              \
                {                                                                                 \
                    acc[i][j] = fma(a, b[j], acc[i][j]);                                          \
                }                                                                                 \
            }                                                                                     \
        }                                                                                         \
        UNROLL for (uint i = 0; i < R; i++)                                                       \
        {                                                                                         \
            UNROLL for (uint j = 0; j < NV; j++)                                                  \
            {                                                                                     \
                if (cols > j * LANES) {                                                           \
                    gemm_end(acc[i][j], bias + j * LANES, add + i * N + j * LANES,                \
                             y + i * N + j * LANES, cols - j * LANES);                            \
                }                                                                                 \
            }                                                                                     \
        }                                                                                         \
    }

#if MR == 12
TILE(12)
#endif
#if MR == 8
TILE(8)
#elif MR == 6
TILE(6)
#endif
TILE(4)
TILE(2)

/* One line, K in four parts, so that eight or more sums are under way at once. */
static void gemm_line(global const float *x, global const float *w, global const float *bias,
                      global const float *add, global float *y, uint cols, uint N, uint K)
{
    VF acc[4][NV];
    UNROLL for (uint i = 0; i < 4; i++)
    {
        UNROLL for (uint j = 0; j < NV; j++)
        {
            acc[i][j] = (VF)(0.0f);
        }
    }
    uint k = 0;
    for (; k + 4 <= K; k += 4) {
        UNROLL for (uint i = 0; i < 4; i++)
        {
            VF a = (VF)(x[k + i]);
            UNROLL for (uint j = 0; j < NV; j++)
            {
                acc[i][j] = fma(a, VLOAD(w + (k + i) * NR + j * LANES), acc[i][j]);
            }
        }
    }
    for (; k < K; k++) {
        VF a = (VF)(x[k]);
        UNROLL for (uint j = 0; j < NV; j++)
        {
            acc[0][j] = fma(a, VLOAD(w + k * NR + j * LANES), acc[0][j]);
        }
    }
    UNROLL for (uint j = 0; j < NV; j++)
    {
        if (cols > j * LANES) {
            gemm_end((acc[0][j] + acc[1][j]) + (acc[2][j] + acc[3][j]), bias + j * LANES,
                     add + j * LANES, y + j * LANES, cols - j * LANES);
        }
    }
}

/* All lines of one panel. */
static void gemm_panel(global const float *x, global const float *w, global const float *bias,
                       global const float *add, global float *y, uint cols, uint lines, uint N,
                       uint K)
{
    uint m = 0;
#define LINES(R)                                                                                  \
    for (; m + R <= lines; m += R) {                                                              \
        gemm_tile_##R(x + m * K, w, bias, add + m * N, y + m * N, cols, N, K);                          \
    }
#if MR == 12
    LINES(12)
#endif
#if MR == 8
    LINES(8)
#elif MR == 6
    LINES(6)
#endif
    LINES(4)
    LINES(2)
    if (m < lines) {
        gemm_line(x + m * K, w, bias, add + m * N, y + m * N, cols, N, K);
    }
}

#if !ACT_CHEAP
/* Long activations come once in the code, after the sums of a panel, while it is in the cache. */
static void act_panel(global float *y, uint cols, uint lines, uint N)
{
    for (uint m = 0; m < lines; m++) {
        for (uint j = 0; j < cols; j += LANES) {
            uint n = min(cols - j, (uint)LANES);
            store_part(activate(load_part(y + (ulong)m * N + j, n, 0.0f)), y + (ulong)m * N + j, n);
        }
    }
}
#endif

/* A tile is MC lines of one panel: MC is all of them on a synchronous device. */
CPU_KERNEL gemm(global const float *x, ulong x_at, global const float *w, ulong w_at,
                global const float *bias, ulong bias_at,
#if ADD
                global const float *add, ulong add_at,
#endif
                global float *y, ulong y_at, uint N, uint K, uint lines)
{
    x += x_at;
    y += y_at;
#if ADD
    add += add_at;
#else
    global const float *add = y;
#endif
    uint blocks = (lines + MC - 1) / MC;
    for TILES (t, blocks * ((N + NR - 1) / NR)) {
        uint p = t / blocks;
        uint m = t % blocks * MC;
        uint cols = min((uint)N - p * NR, (uint)NR);
        gemm_panel(x + (ulong)m * K, w + (ulong)p * K * NR, bias + p * NR,
                   add + (ulong)m * N + p * NR, y + (ulong)m * N + p * NR, cols,
                   min(lines - m, (uint)MC), N, K);
#if !ACT_CHEAP
        act_panel(y + (ulong)m * N + p * NR, cols, min(lines - m, (uint)MC), N);
#endif
    }
}
