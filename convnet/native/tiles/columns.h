/* The rows that im2col copies and col2im adds back, for one level. They are short: the rest of a row behind its whole
 * vectors matters as much as the vectors.
 */

/* y[r * columns + i] = x[r * x_step + i]: rows of the columns that im2col makes. The rest of a row is copied with a
 * mask, or by a vector that overlaps the one before.
 */
SIMD_TARGET static void SIMD_NAME(copy_rows)(const float *x, ptrdiff_t x_step, float *y, ptrdiff_t rows,
                                             ptrdiff_t columns) {
    const ptrdiff_t whole = columns / SIMD_LANES * SIMD_LANES, rest = columns - whole;
#if defined(SIMD_AVX512)
    const __mmask16 lanes = (__mmask16)((1 << rest) - 1);
#endif
    for (ptrdiff_t r = 0; r < rows; r++, x += x_step, y += columns) {
        for (ptrdiff_t i = 0; i < whole; i += SIMD_LANES) *(FLOATS *)(y + i) = *(const FLOATS *)(x + i);
#if defined(SIMD_AVX512)
        if (rest) _mm512_mask_storeu_ps(y + whole, lanes, _mm512_maskz_loadu_ps(lanes, x + whole));
#else
        if (rest && whole) {
            *(FLOATS *)(y + columns - SIMD_LANES) = *(const FLOATS *)(x + columns - SIMD_LANES);
        } else if (rest >= 4) {
            *(simd_four *)y = *(const simd_four *)x;
            *(simd_four *)(y + rest - 4) = *(const simd_four *)(x + rest - 4);
        } else {
            for (ptrdiff_t i = 0; i < rest; i++) y[i] = x[i];
        }
#endif
    }
}

/* y[r * y_step + i] += x[r * columns + i]. */
SIMD_TARGET static void SIMD_NAME(accumulate_rows)(const float *x, float *y, ptrdiff_t y_step, ptrdiff_t rows,
                                                   ptrdiff_t columns) {
    for (ptrdiff_t r = 0; r < rows; r++, x += columns, y += y_step) {
        const float *from = x;
        float *to = y;
#define ADD(type, lanes) *(type *)to += *(const type *)from, from += lanes, to += lanes
        for (ptrdiff_t i = columns / SIMD_LANES; i > 0; i--) ADD(FLOATS, SIMD_LANES);
        if (SIMD_LANES > 8 && columns & 8) ADD(simd_eight, 8);
        if (SIMD_LANES > 4 && columns & 4) ADD(simd_four, 4);
        for (ptrdiff_t i = columns & 3; i > 0; i--) ADD(float, 1);
#undef ADD
    }
}

/* y[r * y_step + t + i] += x[t * x_step + r * columns + i] for t below `shifts`: rows of the columns that im2col makes,
 * added back to the image. With AVX-512 several shifts are added to a vector of y while it is in a register, which is
 * faster where rows are short; from three vectors a row on it gains nothing. Nor does it where vectors of neighbouring
 * rows overlap: a load waits for what a masked store has just written.
 */
SIMD_TARGET static void SIMD_NAME(accumulate)(const float *x, ptrdiff_t x_step, ptrdiff_t shifts, float *y,
                                              ptrdiff_t y_step, ptrdiff_t rows, ptrdiff_t columns) {
#if defined(SIMD_AVX512)
    enum { MOST = 8 };    /* shifts at a time; kernels are seldom wider */
    const ptrdiff_t least = y_step >= SIMD_LANES && columns < 3 * SIMD_LANES ? 2 : PTRDIFF_MAX;
    for (; shifts >= least; shifts -= MOST, x += MOST * x_step, y += MOST) {
        const ptrdiff_t some = simd_least(shifts, MOST), width = columns + some - 1;
        for (ptrdiff_t i = 0; i < width; i += SIMD_LANES) {
            /* The first shift that reaches the vector, and the lanes that each one reaches. */
            const ptrdiff_t first = i < columns ? 0 : i - columns + 1;
            const __mmask16 inside = (__mmask16)((1 << simd_least(width - i, SIMD_LANES)) - 1);
            __mmask16 lanes[MOST];
            for (ptrdiff_t t = first; t < some; t++) {
                const int below = t > i ? (int)(t - i) : 0, all = (1 << simd_least(columns + t - i, SIMD_LANES)) - 1;
                lanes[t] = (__mmask16)(all & ~((1 << below) - 1));
            }
            for (ptrdiff_t r = 0; r < rows; r++) {
                float *const pixels = y + r * y_step + i;
                __m512 sum = _mm512_maskz_loadu_ps(inside, pixels);
                for (ptrdiff_t t = first; t < some; t++)
                    sum += _mm512_maskz_loadu_ps(lanes[t], x + t * x_step + r * columns + i - t);
                _mm512_mask_storeu_ps(pixels, inside, sum);
            }
        }
    }
#endif
    for (ptrdiff_t t = 0; t < shifts; t++) SIMD_NAME(accumulate_rows)(x + t * x_step, y + t, y_step, rows, columns);
}
