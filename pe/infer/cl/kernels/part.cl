/* What every part of a program begins with: its activation.
 *
 * A program is one kernel, or several as the functions of a chain (pe/infer/cl/chain.c): then each
 * part's names get a number, by PART. */
#ifndef PART
#define PART(x) x
#endif
#ifndef CPU_KERNEL
#define CPU_KERNEL __kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
#endif
#define activate PART(activate)

/* ACT: the numbers of enum activation (pe/infer/fuse.h). */
#ifndef ACT
#define ACT 0
#endif
#ifndef ACT_A
#define ACT_A 0.0f
#define ACT_B 0.0f
#endif
#define ACT_CHEAP (ACT <= 2 || ACT == 5 || ACT == 7)
static VF activate(VF v)
{
#if ACT == 1
    return select((VF)(0.0f), v, v > (VF)(0.0f));
#elif ACT == 2
    return select(v, v * ACT_A, v < (VF)(0.0f));
#elif ACT == 3
    return vsigmoid(v);
#elif ACT == 4
    return vtanh(v);
#elif ACT == 5
    return clamp_nan(v, ACT_A, ACT_B);
#elif ACT == 6
    return vgelu(v);
#elif ACT == 7
    return v * clamp_nan(fma(v, (VF)(1.0f / 6.0f), (VF)(0.5f)), 0.0f, 1.0f);
#elif ACT == 8
    return v * vsigmoid(v);
#else
    return v;
#endif
}
