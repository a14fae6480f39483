/* Y[rows*M, N] = act(X[rows*M, K] * W[K, N] * ALPHA + bias + ...), W packed.
 *
 * Macros: M (lines of X per row of the batch), N, K, MR (lines of a tile), NV (vectors of a tile),
 * BIAS (0 or 1), ADD (0; 1: a matrix of Y's shape is added before the activation).
 * W lies in panels of NV * LANES columns, [panel][K][NV * LANES], the last one filled with zeros;
 * bias is as long as all panels. */
#define NR (NV * LANES)
#define PANELS ((N + NR - 1) / NR)

typedef struct {
    VF v[NV];
} LINE;

static void gemm_end(VF v, global const float *bias, global const float *add, global float *y,
                     uint n)
{
#if ALPHA_SET
    v *= (VF)(ALPHA);
#endif
#if BIAS
    v += VLOAD(bias);
#endif
#if ADD
    v += load_part(add, n, 0.0f);
#endif
    store_part(activate(v), y, n);
}

/* The loop is unrolled by the compiler: R and NV are constants wherever this is inlined. */
#define TILE(R)                                                                                   \
    static void gemm_tile_##R(global const float *x, global const float *w,                       \
                              global const float *bias, global const float *add,                  \
                              global float *y, uint cols)                                         \
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
#elif MR == 6
TILE(6)
#endif
#if MR >= 8
TILE(8)
#endif
TILE(4)
TILE(2)

/* One line, K in four parts, so that eight or more sums are under way at once. */
static void gemm_line(global const float *x, global const float *w, global const float *bias,
                      global const float *add, global float *y, uint cols)
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
                       global const float *add, global float *y, uint cols, uint lines)
{
    uint m = 0;
#define LINES(R)                                                                                  \
    for (; m + R <= lines; m += R) {                                                              \
        gemm_tile_##R(x + m * K, w, bias, add + m * N, y + m * N, cols);                          \
    }
#if MR == 12
    LINES(12)
#elif MR == 6
    LINES(6)
#endif
#if MR >= 8
    LINES(8)
#endif
    LINES(4)
    LINES(2)
    if (m < lines) {
        gemm_line(x + m * K, w, bias, add + m * N, y + m * N, cols);
    }
}

/* A tile is MC lines of one panel: MC is all of them on a synchronous device. */
CPU_KERNEL gemm(global float *arena, global const float *w, global const float *bias, ulong x_at,
                ulong add_at, ulong y_at, uint rows)
{
    uint lines = rows * M;
    uint blocks = (lines + MC - 1) / MC;
    for TILES (t, blocks * PANELS) {
        uint p = t / blocks;
        uint m = t % blocks * MC;
        uint cols = min((uint)N - p * NR, (uint)NR);
        gemm_panel(arena + x_at + m * K, w + (ulong)p * K * NR, bias + p * NR,
                   arena + add_at + (ulong)m * N + p * NR, arena + y_at + (ulong)m * N + p * NR,
                   cols, min(lines - m, (uint)MC));
    }
}
