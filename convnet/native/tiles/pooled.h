/* The gradients of a convolution's weights behind 2x2 max pooling, channels last, for one level.
 *
 * At most one output of each window has a gradient, and none where ReLU is inactive: of the products that a dense
 * gradient takes, at least three quarters are 0. Here a filter's gradient is the sum of the patches of the input under
 * the outputs that have a gradient. The vectors go along a row of the patch, kernel_w * channels floats.
 */

/* Most vectors of a patch's row that are summed in registers at a time, together with those of up to three rows; of
 * one vector, up to seven rows.
 */
#if SIMD_LANES == 16
#define PATCH_VECTORS 8
#else
#define PATCH_VECTORS 4
#endif

SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(sum_patches)(
    const int rows, const int vectors, const float *x, ptrdiff_t x_step, int count, const uint8_t *numbers,
    const float *values, const simd_offset *offsets, float *to, ptrdiff_t to_step) {
    FLOATS sums[7][PATCH_VECTORS];
#pragma GCC unroll 7
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) sums[r][v] = *(const FLOATS *)(to + r * to_step + v * SIMD_LANES);
    for (int i = 0; i < count; i++) {
        const float *const patch = x + offsets[numbers[i]];
        const float value = values[i];
#pragma GCC unroll 7
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++)
                sums[r][v] += value * *(const FLOATS *)(patch + r * x_step + v * SIMD_LANES);
    }
#pragma GCC unroll 7
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) *(FLOATS *)(to + r * to_step + v * SIMD_LANES) = sums[r][v];
}

/* A function for each number of rows and vectors. */
typedef void SIMD_NAME(patches_function)(const float *, ptrdiff_t, int, const uint8_t *, const float *,
                                         const simd_offset *, float *, ptrdiff_t);
#define PATCHES(rows, vectors)                                                                                         \
    SIMD_TARGET static __attribute__((noinline)) void SIMD_NAME(patches_##rows##_##vectors)(                           \
        const float *x, ptrdiff_t x_step, int count, const uint8_t *numbers, const float *values,                      \
        const simd_offset *offsets, float *to, ptrdiff_t to_step) {                                                    \
        SIMD_NAME(sum_patches)(rows, vectors, x, x_step, count, numbers, values, offsets, to, to_step);                \
    }
#define PATCHES_OF_ROWS(vectors) PATCHES(1, vectors) PATCHES(2, vectors) PATCHES(3, vectors)
#define PATCHES_NAMES(vectors)                                                                                         \
    {SIMD_NAME(patches_1_##vectors), SIMD_NAME(patches_2_##vectors), SIMD_NAME(patches_3_##vectors)},

SIMD_UP_TO(PATCH_VECTORS, PATCHES_OF_ROWS)
PATCHES(4, 1)
PATCHES(5, 1)
PATCHES(6, 1)
PATCHES(7, 1)

static SIMD_NAME(patches_function) *const SIMD_NAME(wide_patches)[PATCH_VECTORS][3] = {
    SIMD_UP_TO(PATCH_VECTORS, PATCHES_NAMES)};
static SIMD_NAME(patches_function) *const SIMD_NAME(narrow_patches)[7] = {
    SIMD_NAME(patches_1_1), SIMD_NAME(patches_2_1), SIMD_NAME(patches_3_1), SIMD_NAME(patches_4_1),
    SIMD_NAME(patches_5_1), SIMD_NAME(patches_6_1), SIMD_NAME(patches_7_1)};

#undef PATCHES
#undef PATCHES_OF_ROWS
#undef PATCHES_NAMES

/* Of some filters and all windows of a strip, the gradients and, as integers, where their patches begin:
 * (windows, POOLED_FILTERS).
 */
SIMD_TARGET static void SIMD_NAME(find_patches)(const simd_strip *s, const simd_outputs *o, ptrdiff_t f0,
                                                ptrdiff_t filters, float *gradients, float *offsets) {
    const int32_t below = (int32_t)s->x_step, right = (int32_t)s->channels;
    for (ptrdiff_t row = 0; row < s->rows; row++)
        for (ptrdiff_t column = 0; column < s->columns; column++) {
            const ptrdiff_t at = (row * s->columns + column) * o->filters + f0;
            const int32_t window = (int32_t)(2 * (row * s->x_step + column * s->channels));
            for (ptrdiff_t f = 0; f < filters; f += SIMD_LANES) {
                const INTS code = SIMD_NAME(load_codes)(s->codes + at + f, filters - f);
                const FLOATS gradient = SIMD_NAME(load)(s->dy + at + f, filters - f);
                *(FLOATS *)(gradients + f) = SIMD_NAME(activation_gradient)(gradient, code > 3, o->slope);
                const INTS offset = window + (((code & 1) != 0) & right) + (((code & 2) != 0) & below);
                memcpy(offsets + f, &offset, sizeof offset);
            }
            gradients += POOLED_FILTERS, offsets += POOLED_FILTERS;
        }
}

/* Add a strip's gradients of the weights (filters, kernel_h, step) and biases, for the filters from f0 to f1 - 1. Rows
 * and columns of the strip are those behind the pooling. `scratch` has 4 * POOLED_WINDOWS * POOLED_FILTERS floats.
 */
SIMD_TARGET static void SIMD_NAME(pooled_gradients)(const simd_strip *s, const simd_outputs *o, ptrdiff_t f0,
                                                    ptrdiff_t f1, ptrdiff_t step, float *scratch) {
    enum { PART = POOLED_WINDOWS * POOLED_FILTERS };
    const ptrdiff_t windows = s->rows * s->columns, vectors = simd_parts(s->kernel_w * s->channels, SIMD_LANES);
    const ptrdiff_t pieces = simd_parts(vectors, PATCH_VECTORS);
    const ptrdiff_t most = vectors == 1 ? 7 : 3;
    float values[GATHER_SIZE + 16];
    uint8_t numbers[GATHER_SIZE + 16];
    for (ptrdiff_t first = f0; first < f1; first += POOLED_FILTERS) {
        const ptrdiff_t filters = simd_least(f1 - first, POOLED_FILTERS);
        float *const gradients = scratch + 2 * PART, *const moved = scratch + 3 * PART;
        SIMD_NAME(find_patches)(s, o, first, filters, scratch, scratch + PART);
        SIMD_NAME(transpose)(scratch, POOLED_FILTERS, windows, filters, gradients, POOLED_WINDOWS);
        SIMD_NAME(transpose)(scratch + PART, POOLED_FILTERS, windows, filters, moved, POOLED_WINDOWS);
        for (ptrdiff_t f = 0; f < filters; f++) {
            const simd_offset *const offsets = (const simd_offset *)(moved + f * POOLED_WINDOWS);
            float *const dweight = s->dweight + (first + f) * s->kernel_h * step;
            const int count = SIMD_NAME(gather)(gradients + f * POOLED_WINDOWS, windows, numbers, values);
            float bias = 0;
            for (int i = 0; i < count; i++) bias += values[i];
            s->dbias[first + f] += bias;
            for (ptrdiff_t i = 0; i < s->kernel_h; i += most) {
                const ptrdiff_t rows = simd_least(s->kernel_h - i, most);
                for (ptrdiff_t piece = 0; piece < pieces; piece++) {
                    const ptrdiff_t v0 = vectors * piece / pieces, v1 = vectors * (piece + 1) / pieces;
                    SIMD_NAME(patches_function) *const function =
                        vectors == 1 ? SIMD_NAME(narrow_patches)[rows - 1]
                                     : SIMD_NAME(wide_patches)[v1 - v0 - 1][rows - 1];
                    function(s->x + i * s->x_step + v0 * SIMD_LANES, s->x_step, count, numbers, values, offsets,
                             dweight + i * step + v0 * SIMD_LANES, step);
                }
            }
        }
    }
}

#undef PATCH_VECTORS
