/* Y = X with its dims in another order, as four dims of the result: d1 x d2 x d3 for each of the
 * first.  s0..s3 are the strides of X in the order of the result's dims. */
#define transpose PART(transpose)

CPU_KERNEL transpose(global const uint *x, ulong x_at, global uint *y, ulong y_at, uint d1, uint d2,
                     uint d3, uint s0, uint s1, uint s2, uint s3, uint outer)
{
    for TILES (t, outer * d1) {
        global const uint *from = x + x_at + (ulong)(t / d1) * s0 + (ulong)(t % d1) * s1;
        global uint *to = y + y_at + (ulong)t * d2 * d3;
        for (uint i = 0; i < d2; i++) {
            global const uint *line = from + (ulong)i * s2;
            uint j = 0;
            if (s3 == 1) {
                for (; j + 8 <= d3; j += 8) {
                    vstore8(vload8(0, line + j), 0, to + j);
                }
            }
            for (; j < d3; j++) {
                to[j] = line[(ulong)j * s3];
            }
            to += d3;
        }
    }
}
