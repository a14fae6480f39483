/* Element by element: y = OP(a) or OP(a, b) over lines of `width` elements.
 *
 * Macros: OP, BINARY, B_STEP (1: b has a line too; 0: one element for the whole line).  b's lines
 * repeat after b_lines. */
#define map PART(map)
#define affine PART(affine)

CPU_KERNEL map(global const float *a, ulong a_at,
#if BINARY
               global const float *b, ulong b_at,
#endif
               global float *y, ulong y_at, uint width, uint b_lines, uint lines)
{
    for TILES (t, lines) {
        global const float *from = a + a_at + (ulong)t * width;
        global float *to = y + y_at + (ulong)t * width;
#if BINARY
        global const float *other = b + b_at + (ulong)(t % b_lines) * (B_STEP ? width : 1);
        VF w = (VF)(other[0]);
#endif
        for (uint j = 0; j < width; j += LANES) {
            uint n = min(width - j, (uint)LANES);
            VF v = load_part(from + j, n, 1.0f);
#if BINARY
#if B_STEP
            w = load_part(other + j, n, 1.0f);
#endif
            v = OP(v, w);
#else
            v = OP(v);
#endif
            store_part(v, to + j, n);
        }
    }
}

/* y[line][c][inner] = x * factor[c] + shift[c]: batch normalisation when it could not be fused. */
CPU_KERNEL affine(global const float *x, ulong x_at, global const float *factor, ulong factor_at,
                  global float *y, ulong y_at, uint channels, uint inner, uint lines)
{
    for TILES (t, lines) {
        uint c = t % channels;
        VF f = (VF)(factor[c]), s = (VF)(factor[channels + c]);
        for (uint j = 0; j < inner; j += LANES) {
            uint n = min(inner - j, (uint)LANES);
            ulong at = (ulong)t * inner + j;
            store_part(fma(load_part(x + x_at + at, n, 0.0f), f, s), y + y_at + at, n);
        }
    }
}
