/* A whole sequence of GRU or LSTM in one launch: X[steps, lines, IN] -> Y[steps, dirs, lines, H].
 *
 * Macros: GATES (4: LSTM i o f c; 3: GRU z r h), LBR (GRU: 1 when the reset comes after the linear
 * part), HAS_Y, HAS_YH, HAS_YC, HAS_H0, HAS_C0.  Weights of input and state lie together as
 * [dir][panel of LANES units][IN + H][GATES][LANES]; bias as [dir][panel][4][LANES].
 * Work: four lines (else one) of one direction; their state stays in the scratch of the work-group,
 * [h, next h, c or z, r * h][4][HP].
 * One line has its sums in four parts, so that enough of them are under way at once. */
#define step_4 PART(step_4)
#define step_1 PART(step_1)
#define state_in PART(state_in)
#define state_out PART(state_out)
#define rnn PART(rnn)

#define WIDTH (GATES * LANES)

/* acc[S][R][GATES] += x[R][count] * w[count][GATES]; CAND: where gate 2's part goes (GRU). */
#define DOT(R, S, X, X_STEP, COUNT, W, FIRST, LAST, CAND)                                         \
    {                                                                                             \
        uint k = 0;                                                                               \
        for (; k + S <= (COUNT); k += S) {                                                        \
            UNROLL for (uint s = 0; s < S; s++)                                                   \
            {                                                                                     \
                UNROLL for (uint g = FIRST; g < LAST; g++)                                        \
                {                                                                                 \
                    VF v = VLOAD((W) + (k + s) * WIDTH + g * LANES);                              \
                    uint to = g == 2 ? CAND : g;                                                  \
                    UNROLL for (uint r = 0; r < R; r++)                                           \
                    {                                                                             \
                        acc[s][r][to] = fma((VF)((X)[r * (X_STEP) + k + s]), v, acc[s][r][to]);   \
                    }                                                                             \
                }                                                                                 \
            }                                                                                     \
        }                                                                                         \
        for (; S > 1 && k < (COUNT); k++) {                                                       \
            UNROLL for (uint g = FIRST; g < LAST; g++)                                            \
            {                                                                                     \
                VF v = VLOAD((W) + k * WIDTH + g * LANES);                                        \
                uint to = g == 2 ? CAND : g;                                                      \
                UNROLL for (uint r = 0; r < R; r++)                                               \
                {                                                                                 \
                    acc[0][r][to] = fma((VF)((X)[r * (X_STEP) + k]), v, acc[0][r][to]);           \
                }                                                                                 \
            }                                                                                     \
        }                                                                                         \
    }

#define CLEAR(R, S)                                                                               \
    VF acc[S][R][4];                                                                              \
    UNROLL for (uint s = 0; s < S; s++)                                                           \
    {                                                                                             \
        UNROLL for (uint r = 0; r < R; r++)                                                       \
        {                                                                                         \
            UNROLL for (uint g = 0; g < 4; g++)                                                   \
            {                                                                                     \
                acc[s][r][g] = (VF)(0.0f);                                                        \
            }                                                                                     \
        }                                                                                         \
    }

#define FOLD(R, S)                                                                                \
    UNROLL for (uint s = 1; s < S; s++)                                                           \
    {                                                                                             \
        UNROLL for (uint r = 0; r < R; r++)                                                       \
        {                                                                                         \
            UNROLL for (uint g = 0; g < 4; g++)                                                   \
            {                                                                                     \
                acc[0][r][g] += acc[s][r][g];                                                     \
            }                                                                                     \
        }                                                                                         \
    }

#define STEP_ARGS                                                                                 \
    global const float *x, global const float *w, global const float *bias, global float *h,      \
        global float *next, global float *c, global float *rh, uint in, uint hidden, uint hp

/* Of a panel: its weights, its bias, and the sums of the gates FIRST to LAST over x and H. */
#define SUMS(R, S, H, FIRST, LAST, CAND)                                                          \
    global const float *wj = w + (ulong)j / LANES * (in + hidden) * WIDTH;                        \
    global const float *b = bias + j * 4;                                                         \
    CLEAR(R, S)                                                                                   \
    DOT(R, S, x, in, in, wj, FIRST, LAST, 2)                                                      \
    DOT(R, S, H, hp, hidden, wj + in * WIDTH, FIRST, LAST, CAND)                                  \
    FOLD(R, S)

#undef STEP
#if GATES == 4
#define STEP(R, S)                                                                                \
    static void step_##R(STEP_ARGS)                                                               \
    {                                                                                             \
        for (uint j = 0; j < hp; j += LANES) {                                                    \
            SUMS(R, S, h, 0, 4, 2)                                                                \
            UNROLL for (uint r = 0; r < R; r++)                                                   \
            {                                                                                     \
                VF i = vsigmoid(acc[0][r][0] + VLOAD(b));                                         \
                VF o = vsigmoid(acc[0][r][1] + VLOAD(b + LANES));                                 \
                VF f = vsigmoid(acc[0][r][2] + VLOAD(b + 2 * LANES));                             \
                VF n = vtanh(acc[0][r][3] + VLOAD(b + 3 * LANES));                                \
                VF cell = fma(f, VLOAD(c + r * hp + j), i * n);                                   \
                VSTORE(cell, c + r * hp + j);                                                     \
                VSTORE(o * vtanh(cell), next + r * hp + j);                                       \
            }                                                                                     \
        }                                                                                         \
    }
#elif LBR
#define STEP(R, S)                                                                                \
    static void step_##R(STEP_ARGS)                                                               \
    {                                                                                             \
        for (uint j = 0; j < hp; j += LANES) {                                                    \
            SUMS(R, S, h, 0, 3, 3)                                                                \
            UNROLL for (uint r = 0; r < R; r++)                                                   \
            {                                                                                     \
                VF z = vsigmoid(acc[0][r][0] + VLOAD(b));                                         \
                VF reset = vsigmoid(acc[0][r][1] + VLOAD(b + LANES));                             \
                VF n = acc[0][r][3] + VLOAD(b + 3 * LANES);                                       \
                n = vtanh(fma(reset, n, acc[0][r][2] + VLOAD(b + 2 * LANES)));                    \
                VSTORE(fma(z, VLOAD(h + r * hp + j) - n, n), next + r * hp + j);                  \
            }                                                                                     \
        }                                                                                         \
    }
#else
#define STEP(R, S)                                                                                \
    static void step_##R(STEP_ARGS)                                                               \
    {                                                                                             \
        for (uint j = 0; j < hp; j += LANES) {                                                    \
            SUMS(R, S, h, 0, 2, 2)                                                                \
            UNROLL for (uint r = 0; r < R; r++)                                                   \
            {                                                                                     \
                VSTORE(vsigmoid(acc[0][r][0] + VLOAD(b)), c + r * hp + j);                        \
                VF reset = vsigmoid(acc[0][r][1] + VLOAD(b + LANES));                             \
                VSTORE(reset *VLOAD(h + r * hp + j), rh + r * hp + j);                            \
            }                                                                                     \
        }                                                                                         \
        for (uint j = 0; j < hp; j += LANES) {                                                    \
            SUMS(R, S, rh, 2, 3, 2)                                                               \
            UNROLL for (uint r = 0; r < R; r++)                                                   \
            {                                                                                     \
                VF n = vtanh(acc[0][r][2] + VLOAD(b + 2 * LANES));                                \
                VF z = VLOAD(c + r * hp + j);                                                     \
                VSTORE(fma(z, VLOAD(h + r * hp + j) - n, n), next + r * hp + j);                  \
            }                                                                                     \
        }                                                                                         \
    }
#endif

STEP(4, 1)
STEP(1, 4)

/* `lines` lines of the state (padded to hp) from or to a matrix of lines of `hidden`. */
static void state_in(global float *to, global const float *from, uint lines, uint hidden, uint hp)
{
    for (uint r = 0; r < lines; r++) {
        for (uint i = 0; i < hp; i++) {
            to[r * hp + i] = from && i < hidden ? from[r * hidden + i] : 0.0f;
        }
    }
}

static void state_out(global const float *from, global float *to, uint lines, uint hidden, uint hp)
{
    for (uint r = 0; r < lines; r++) {
        for (uint j = 0; j < hidden; j += LANES) {
            store_part(VLOAD(from + r * hp + j), to + r * hidden + j,
                       min(hidden - j, (uint)LANES));
        }
    }
}

CPU_KERNEL rnn(global const float *x, ulong x_at, global const float *w, ulong w_at,
               global const float *bias, ulong bias_at,
#if HAS_H0
               global const float *h0, ulong h0_at,
#endif
#if HAS_C0
               global const float *c0, ulong c0_at,
#endif
               global float *scratch, ulong scratch_at,
#if HAS_Y
               global float *y, ulong y_at,
#endif
#if HAS_YH
               global float *yh, ulong yh_at,
#endif
#if HAS_YC
               global float *yc, ulong yc_at,
#endif
               uint steps, uint batch, uint in, uint hidden, uint hp, uint dirs, uint reverse,
               uint unused)
{
    uint blocks = batch / 4 + batch % 4; /* fours, then ones */
    global float *state = scratch + (ulong)GROUP * 16 * hp;
    for TILES (t, blocks * dirs) {
        uint d = t / blocks, block = t % blocks;
        uint line = block < batch / 4 ? block * 4 : batch / 4 * 4 + block - batch / 4;
        uint lines = block < batch / 4 ? 4 : 1;
        global float *h = state, *next = state + 4 * hp, *c = state + 8 * hp;
        global float *rh = state + 12 * hp;
        global const float *wd = w + (ulong)d * (hp / LANES) * (in + hidden) * WIDTH;
        global const float *bd = bias + d * hp * 4;
        global const float *from = 0;
#if HAS_H0
        from = h0 + h0_at + (ulong)(d * batch + line) * hidden;
#endif
        state_in(h, from, lines, hidden, hp);
        from = 0;
#if HAS_C0
        from = c0 + c0_at + (ulong)(d * batch + line) * hidden;
#endif
        state_in(c, from, lines, hidden, hp);
        for (uint i = 0; i < steps; i++) {
            uint at = reverse || d == 1 ? steps - 1 - i : i;
            global const float *xt = x + x_at + ((ulong)at * batch + line) * in;
            if (lines == 4) {
                step_4(xt, wd, bd, h, next, c, rh, in, hidden, hp);
            } else {
                step_1(xt, wd, bd, h, next, c, rh, in, hidden, hp);
            }
            global float *swap = h;
            h = next;
            next = swap;
#if HAS_Y
            state_out(h, y + y_at + (((ulong)at * dirs + d) * batch + line) * hidden, lines, hidden,
                      hp);
#endif
        }
#if HAS_YH
        state_out(h, yh + yh_at + (ulong)(d * batch + line) * hidden, lines, hidden, hp);
#endif
#if HAS_YC
        state_out(c, yc + yc_at + (ulong)(d * batch + line) * hidden, lines, hidden, hp);
#endif
    }
}
