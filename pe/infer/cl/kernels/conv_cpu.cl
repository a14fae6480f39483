/* Y = pool(act(conv(X, W) + bias [+ add])), NCHW, one image after the other.
 *
 * Macros: KH, KW, SY, SX (strides), DY, DX (dilations), POOL (0; 1 max, 2 average, of 2x2 with
 * stride 2), ADD, ACT, NV, PX (pixels of a tile, at most a line's), CP.  Sizes are arguments.
 *
 * An image is first copied into `pad`, with its border of zeros (CP: the input needs one).  The sums
 * are PX pixels of one line by NV vectors of output channels: the input is one broadcast per pixel,
 * whatever the strides; W lies as [group][panel][channel][ky][kx][NV * LANES].  Sums of a line land
 * as [pixel][channel] in `line` and are turned from there, a line at a time, while in the cache. */
#define pad_image PART(pad_image)
#define conv_pixels PART(conv_pixels)
#define conv_line PART(conv_line)
#define turn PART(turn)
#define put_line PART(put_line)
#define pool_lines PART(pool_lines)
#define conv_image PART(conv_image)
#define conv PART(conv)

#define NR (NV * LANES)

/* One image with its border; the scratch is as large as the largest share of work needs. */
static void pad_image(global const float *x, global float *pad, uint channels, uint h, uint w,
                      uint top, uint left, uint ph, uint pw)
{
    for (uint c = 0; c < channels; c++) {
        for (uint y = 0; y < ph; y++) {
            global float *to = pad + (c * ph + y) * pw;
            if (y < top || y >= top + h) {
                for (uint i = 0; i < pw; i++) {
                    to[i] = 0.0f;
                }
                continue;
            }
            global const float *from = x + (c * h + y - top) * w;
            for (uint i = 0; i < left; i++) {
                to[i] = 0.0f;
            }
            uint i = 0;
            for (; i + LANES <= w; i += LANES) {
                VSTORE(VLOAD(from + i), to + left + i);
            }
            for (; i < w; i++) {
                to[left + i] = from[i];
            }
            for (i = left + w; i < pw; i++) {
                to[i] = 0.0f;
            }
        }
    }
}

#undef CONV_ACT
#if ADD || !ACT_CHEAP
#define CONV_ACT(v) (v)
#else
#define CONV_ACT(v) activate(v)
#endif

/* P pixels from x on, all output channels of a panel, all input channels of the group. */
static void conv_pixels(global const float *x, global const float *w,
                            global const float *bias, global float *line, uint channels,
                            uint ph, uint pw)
{
    VF acc[PX][NV];
    UNROLL for (uint i = 0; i < PX; i++)
    {
        UNROLL for (uint j = 0; j < NV; j++)
        {
            acc[i][j] = VLOAD(bias + j * LANES);
        }
    }
    for (uint c = 0; c < channels; c++) {
        for (uint ky = 0; ky < KH; ky++) {
            global const float *from = x + (c * ph + ky * DY) * pw;
            UNROLL for (uint kx = 0; kx < KW; kx++)
            {
                VF b[NV];
                UNROLL for (uint j = 0; j < NV; j++)
                {
                    b[j] = VLOAD(w + j * LANES);
                }
                w += NR;
                UNROLL for (uint i = 0; i < PX; i++)
                {
                    VF a = (VF)(from[i * SX + kx * DX]);
                    UNROLL for (uint j = 0; j < NV; j++)
                    {
                        acc[i][j] = fma(a, b[j], acc[i][j]);
                    }
                }
            }
        }
    }
    UNROLL for (uint i = 0; i < PX; i++)
    {
        UNROLL for (uint j = 0; j < NV; j++)
        {
            VSTORE(CONV_ACT(acc[i][j]), line + i * NR + j * LANES);
        }
    }
}

/* A line; the last pixels are computed twice when PX does not divide it. */
static void conv_line(global const float *x, global const float *w, global const float *bias,
                      global float *line, uint channels, uint ph, uint pw, uint ow)
{
    for (uint i = 0; i < ow; i += PX) {
        uint at = min(i, ow - PX);
        conv_pixels(x + at * SX, w, bias, line + at * NR, channels, ph, pw);
    }
}

/* LANES lines of LANES floats, `from_step` apart, become columns, `to_step` apart; only `n` of the
 * columns and `pixels` of the lines are wanted; the scratch has LANES lines more than are used. */
#if LANES == 16
#define Z(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, A, B)                                   \
    ((VF)(A.s##a, B.s##b, A.s##c, B.s##d, A.s##e, B.s##f, A.s##g, B.s##h, A.s##i, B.s##j, A.s##k, \
          B.s##l, A.s##m, B.s##n, A.s##o, B.s##p))
#define ZIP_LO(A, B) Z(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, A, B)
#define ZIP_HI(A, B) Z(8, 8, 9, 9, a, a, b, b, c, c, d, d, e, e, f, f, A, B)
#else
#define Z(a, b, c, d, e, f, g, h, A, B)                                                           \
    ((VF)(A.s##a, B.s##b, A.s##c, B.s##d, A.s##e, B.s##f, A.s##g, B.s##h))
#define ZIP_LO(A, B) Z(0, 0, 1, 1, 2, 2, 3, 3, A, B)
#define ZIP_HI(A, B) Z(4, 4, 5, 5, 6, 6, 7, 7, A, B)
#endif

/* log2(LANES) rounds of interleaving line i with line i + LANES / 2. */
static void turn(global const float *from, uint from_step, global float *to, uint to_step, uint n,
                 uint pixels)
{
    VF a[LANES], b[LANES];
    UNROLL for (uint i = 0; i < LANES; i++)
    {
        a[i] = VLOAD(from + i * from_step);
    }
#define ROUND(IN, OUT)                                                                            \
    UNROLL for (uint i = 0; i < LANES / 2; i++)                                                   \
    {                                                                                             \
        OUT[2 * i] = ZIP_LO(IN[i], IN[i + LANES / 2]);                                            \
        OUT[2 * i + 1] = ZIP_HI(IN[i], IN[i + LANES / 2]);                                        \
    }
    ROUND(a, b)
    ROUND(b, a)
    ROUND(a, b)
#if LANES == 16
    ROUND(b, a)
#define TURNED a
#else
#define TURNED b
#endif
    UNROLL for (uint i = 0; i < LANES; i++)
    {
        if (i < n) {
            store_part(TURNED[i], to + i * to_step, pixels);
        }
    }
}

/* Finished lines (pooled ones: two of them) into the planes of `cols` output channels. */
static void put_line(global float *line, global const float *add, global float *y, uint plane,
                     uint ow, uint cols)
{
#if ADD || !ACT_CHEAP
    for (uint i = 0; i < ow; i++) {
        for (uint j = 0; j < cols; j++) {
            float v = line[i * NR + j];
#if ADD
            v += add[(ulong)j * plane + i];
#endif
            line[i * NR + j] = v;
        }
        for (uint j = 0; j < NR; j += LANES) {
            VSTORE(activate(VLOAD(line + i * NR + j)), line + i * NR + j);
        }
    }
#endif
    for (uint i = 0; i < ow; i += LANES) {
        for (uint j = 0; j < cols; j += LANES) {
            turn(line + i * NR + j, NR, y + (ulong)j * plane + i, plane, cols - j, ow - i);
        }
    }
}

#if POOL
/* Two lines of 2 * ow pixels become one of ow. */
static void pool_lines(global float *line, uint cw, uint ow)
{
    for (uint i = 0; i < ow; i++) {
        UNROLL for (uint j = 0; j < NR; j += LANES)
        {
            VF a = VLOAD(line + 2 * i * NR + j), b = VLOAD(line + (2 * i + 1) * NR + j);
            VF c = VLOAD(line + (cw + 2 * i) * NR + j), d = VLOAD(line + (cw + 2 * i + 1) * NR + j);
#if POOL == 1
            VF e = select(a, b, b > a), f = select(c, d, d > c);
            VSTORE(select(e, f, f > e), line + i * NR + j);
#else
            VSTORE(((a + b) + (c + d)) * 0.25f, line + i * NR + j);
#endif
        }
    }
}
#endif

/* group_in, group_out: channels per group; ch, cw: the convolution's size; oh, ow: the result's. */
static void conv_image(global const float *x, global const float *w, global const float *bias,
                       global const float *add, global float *line, global float *y, uint groups,
                       uint group_in, uint group_out, uint ph, uint pw, uint cw, uint oh, uint ow)
{
    uint panels = (group_out + NR - 1) / NR;
    for (uint g = 0; g < groups; g++) {
        for (uint p = 0; p < panels; p++) {
            uint from = g * group_out + p * NR;
            uint cols = min(group_out - p * NR, (uint)NR);
            global const float *wp = w + (ulong)(g * panels + p) * group_in * KH * KW * NR;
            global const float *bp = bias + (g * panels + p) * NR;
            for (uint oy = 0; oy < oh; oy++) {
                ulong at = (ulong)from * oh * ow + oy * ow;
#if POOL
                for (uint i = 0; i < 2; i++) {
                    conv_line(x + (ulong)(g * group_in * ph + (2 * oy + i) * SY) * pw, wp, bp,
                              line + i * cw * NR, group_in, ph, pw, cw);
                }
                pool_lines(line, cw, ow);
#else
                conv_line(x + (ulong)(g * group_in * ph + oy * SY) * pw, wp, bp, line, group_in, ph,
                          pw, cw);
#endif
                put_line(line, add + at, y + at, oh * ow, ow, cols);
            }
        }
    }
}

CPU_KERNEL conv(global const float *x, ulong x_at, global const float *w, ulong w_at,
                global const float *bias, ulong bias_at,
#if ADD
                global const float *add, ulong add_at,
#endif
                global float *scratch, ulong scratch_at, global float *y, ulong y_at, uint groups,
                uint group_in, uint group_out, uint h, uint wide, uint top, uint left, uint ph,
                uint pw, uint cw, uint oh, uint ow, uint scratch_step, uint images)
{
    global float *line = scratch + (ulong)GROUP * scratch_step;
    global float *pad = line + ((POOL ? 2 : 1) * cw + LANES) * NR;
    uint in_size = groups * group_in * h * wide;
    uint out_size = groups * group_out * oh * ow;
    for TILES (t, images) {
        global const float *image = x + x_at + (ulong)t * in_size;
        global float *to = y + y_at + (ulong)t * out_size;
#if CP
        pad_image(image, pad, groups * group_in, h, wide, top, left, ph, pw);
        image = pad;
#endif
#if ADD
        global const float *other = add + add_at + (ulong)t * out_size;
#else
        global const float *other = to;
#endif
        conv_image(image, w, bias, other, line, to, groups, group_in, group_out, ph, pw, cw, oh,
                   ow);
    }
}
