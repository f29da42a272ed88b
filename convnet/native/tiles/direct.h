/* Direct convolution, channels last, and the gradients of its weights and biases, for one level.
 *
 * It is the product with the rows that im2col would make, but these are not made: with channels last, the pixels under
 * a row of the kernel lie one after the other in the image, kernel_w * channels floats. So does the next row of the
 * kernel, an image row further on. An output is a row of A whose common axis is so many runs, and outputs that are
 * neighbours begin stride_w * channels floats apart: the tiles of product.h take that as it is. For the gradient of the
 * weights A is transposed: its rows are the pixels under a row of the kernel, and the common axis runs over outputs.
 */

/* y = the convolution of a strip. */
SIMD_TARGET static void SIMD_NAME(direct)(const simd_strip *s) {
    enum { WIDTH = 2 * SIMD_LANES };
    const ptrdiff_t run = s->kernel_w * s->channels;
    for (ptrdiff_t f = 0; f < s->filters; f += WIDTH) {
        for (ptrdiff_t row = 0; row < s->rows; row++) {
            /* Rows of the kernel that lie above or below the image are left out. */
            const ptrdiff_t first = simd_within(s->top - row * s->stride_h, s->kernel_h);
            const ptrdiff_t end = simd_within(s->bottom - row * s->stride_h, s->kernel_h);
            const float *stream = NULL;
            SIMD_NAME(product_terms) terms = {
                .depth = run, .runs = end > first ? end - first : 0, .run_step = s->x_step,
                .a = s->x + (row * s->stride_h + first) * s->x_step, .a_step = s->stride_w * s->channels,
                .b = s->weight + (f * s->kernel_h + first * WIDTH) * run, .b_step = WIDTH,
                .c = s->y + row * s->columns * s->filters + f, .c_step = s->filters, .alpha = 1, .beta = 0};
            SIMD_NAME(product_panel)(&terms, s->columns, simd_least(s->filters - f, WIDTH), 0, &stream, NULL);
        }
    }
}

/* Add a strip's gradients of the weights and biases of the filters from first to end - 1; first is a multiple of two
 * vectors.
 */
SIMD_TARGET static void SIMD_NAME(direct_gradients)(const simd_strip *s, ptrdiff_t first, ptrdiff_t end) {
    enum { WIDTH = 2 * SIMD_LANES, DEPTH = PRODUCT_DEPTH };
    float panel[DEPTH * WIDTH] __attribute__((aligned(64)));
    const ptrdiff_t run = s->kernel_w * s->channels, width = simd_least(s->columns, DEPTH), height = DEPTH / width;
    for (ptrdiff_t f = first; f < end; f += WIDTH) {
        const ptrdiff_t filters = simd_least(end - f, WIDTH);
        FLOATS bias[2] = {{0}, {0}};
        for (ptrdiff_t row = 0; row < s->rows; row += height) {
            const ptrdiff_t rows = simd_least(s->rows - row, height);
            for (ptrdiff_t column = 0; column < s->columns; column += width) {
                /* A block of outputs, whose dy stays in the first-level cache for all rows of the kernel. */
                const ptrdiff_t columns = simd_least(s->columns - column, width);
                for (ptrdiff_t r = 0; r < rows; r++)
                    SIMD_NAME(copy_panel)(s->dy + ((row + r) * s->columns + column) * s->filters + f, s->filters,
                                          columns, filters, panel + r * columns * WIDTH);
                for (ptrdiff_t i = 0; i < rows * columns; i++) {
                    bias[0] += *(const FLOATS *)(panel + i * WIDTH);
                    bias[1] += *(const FLOATS *)(panel + i * WIDTH + SIMD_LANES);
                }
                for (ptrdiff_t i = 0; i < s->kernel_h; i++) {
                    /* The outputs for which this row of the kernel lies above or below the image are left out. */
                    const ptrdiff_t above = simd_within(simd_parts(s->top - i, s->stride_h) - row, rows);
                    const ptrdiff_t below = simd_within(simd_parts(s->bottom - i, s->stride_h) - row, rows);
                    const float *stream = NULL;
                    SIMD_NAME(product_terms) terms = {
                        .depth = columns, .runs = below - above, .run_step = s->stride_h * s->x_step,
                        .a = s->x + ((row + above) * s->stride_h + i) * s->x_step + column * s->stride_w * s->channels,
                        .a_step = s->stride_w * s->channels, .b = panel + above * columns * WIDTH, .b_step = WIDTH,
                        .c = s->dweight + i * run * s->filters + f, .c_step = s->filters, .alpha = 1, .beta = 1};
                    if (below > above) SIMD_NAME(product_panel)(&terms, run, filters, 1, &stream, NULL);
                }
            }
        }
        for (ptrdiff_t i = 0; i < filters; i++) s->dbias[f + i] += ((const float *)bias)[i];
    }
}
