/* Operators on lines of `width` elements: softmax and layer normalisation.
 *
 * Macros: for softmax LOG, SCALE, MASK (1: `mask` has mask_lines lines that repeat); for norm EPS,
 * BIAS. */
#define softmax PART(softmax)
#define norm PART(norm)

CPU_KERNEL softmax(global const float *x, ulong x_at,
#if MASK
                   global const float *mask, ulong mask_at,
#endif
                   global float *y, ulong y_at, uint width, uint mask_lines, uint lines)
{
    for TILES (t, lines) {
        global const float *from = x + x_at + (ulong)t * width;
        global float *to = y + y_at + (ulong)t * width;
#if MASK
        global const float *add = mask + mask_at + (ulong)(t % mask_lines) * width;
#endif
        VF top = (VF)(-INFINITY);
        for (uint j = 0; j < width; j += LANES) {
            uint n = min(width - j, (uint)LANES);
            VF v = load_part(from + j, n, -INFINITY) * (VF)(SCALE);
#if MASK
            v += load_part(add + j, n, 0.0f);
#endif
            store_part(v, to + j, n);
            top = fmax(top, v);
        }
        float m = max_lanes(top);
        VF sum = (VF)(0.0f);
        for (uint j = 0; j < width; j += LANES) {
            uint n = min(width - j, (uint)LANES);
            VF v = load_part(to + j, n, -INFINITY) - m;
            /* far below the largest is nothing, not the smallest normal number */
            VF e = select(vexp(v), (VF)(0.0f), v < (VF)(-87.3f));
            sum += e;
#if LOG
            store_part(v, to + j, n);
#else
            store_part(e, to + j, n);
#endif
        }
#if LOG
        float shift = log(sum_lanes(sum));
#else
        float factor = 1.0f / sum_lanes(sum);
#endif
        for (uint j = 0; j < width; j += LANES) {
            uint n = min(width - j, (uint)LANES);
#if LOG
            store_part(load_part(to + j, n, 0.0f) - shift, to + j, n);
#else
            store_part(load_part(to + j, n, 0.0f) * factor, to + j, n);
#endif
        }
    }
}

/* Two passes over the line, mean first: the variance of a line far from 0 keeps its digits. */
CPU_KERNEL norm(global const float *x, ulong x_at, global const float *scale, ulong scale_at,
#if BIAS
                global const float *bias, ulong bias_at,
#endif
                global float *y, ulong y_at, uint width, uint lines)
{
    for TILES (t, lines) {
        global const float *from = x + x_at + (ulong)t * width;
        global float *to = y + y_at + (ulong)t * width;
        VF sum = (VF)(0.0f);
        for (uint j = 0; j < width; j += LANES) {
            sum += load_part(from + j, min(width - j, (uint)LANES), 0.0f);
        }
        float mean = sum_lanes(sum) / width;
        sum = (VF)(0.0f);
        for (uint j = 0; j < width; j += LANES) {
            VF v = load_part(from + j, min(width - j, (uint)LANES), mean) - mean;
            sum = fma(v, v, sum);
        }
        float factor = 1.0f / sqrt(sum_lanes(sum) / width + EPS);
        for (uint j = 0; j < width; j += LANES) {
            uint n = min(width - j, (uint)LANES);
            VF v = (load_part(from + j, n, 0.0f) - mean) * factor;
            v *= load_part(scale + j, n, 0.0f);
#if BIAS
            v += load_part(bias + j, n, 0.0f);
#endif
            store_part(v, to + j, n);
        }
    }
}
