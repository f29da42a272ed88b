/* Winograd's algorithm for 3x3 convolutions of stride 1, channels last, for one level: the transforms.
 *
 * A tile of M x M outputs, M = 4 or 2, is made from (M + 2) x (M + 2) inputs d and the filter g as
 *     A^T ((G g G^T) * (B^T d B)) A,
 * where * multiplies element by element and the result is summed over the channels. So a product of matrices remains
 * for each of the (M + 2)^2 positions, of tiles x channels with channels x filters: 4 times fewer multiplications than
 * the direct convolution for M = 4, 2.25 times for M = 2. The gradient of the weights is
 *     G^T (sum over tiles of (B^T d B) * (A dy A^T)) G.
 * The vectors are of channels or filters, so that a transform is sums and differences of vectors.
 *
 * A. Lavin, S. Gray, "Fast algorithms for convolutional neural networks", 2016: the interpolation points are 0, 1, -1
 * and, for M = 4, 2, -2; and infinity.
 */

/* o = B^T d. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(bt)(const int m, const FLOATS *d, FLOATS *o) {
    if (m == 4) {
        const FLOATS a = d[4] - 4 * d[2], b = d[3] - 4 * d[1], e = d[4] - d[2], f = 2 * (d[3] - d[1]);
        o[0] = 4 * d[0] - 5 * d[2] + d[4], o[1] = a + b, o[2] = a - b;
        o[3] = e + f, o[4] = e - f, o[5] = 4 * d[1] - 5 * d[3] + d[5];
    } else {
        o[0] = d[0] - d[2], o[1] = d[1] + d[2], o[2] = d[2] - d[1], o[3] = d[1] - d[3];
    }
}

/* o = A^T d. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(at)(const int m, const FLOATS *d, FLOATS *o) {
    if (m == 4) {
        const FLOATS a = d[1] + d[2], b = d[1] - d[2], e = d[3] + d[4], f = d[3] - d[4];
        o[0] = d[0] + a + e, o[1] = b + 2 * f, o[2] = a + 4 * e, o[3] = b + 8 * f + d[5];
    } else {
        o[0] = d[0] + d[1] + d[2], o[1] = d[1] - d[2] - d[3];
    }
}

/* o = A d. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(a)(const int m, const FLOATS *d, FLOATS *o) {
    if (m == 4) {
        const FLOATS a = d[0] + d[2], b = d[1] + d[3], e = d[0] + 4 * d[2], f = 2 * d[1] + 8 * d[3];
        o[0] = d[0], o[1] = a + b, o[2] = a - b, o[3] = e + f, o[4] = e - f, o[5] = d[3];
    } else {
        o[0] = d[0], o[1] = d[0] + d[1], o[2] = d[0] - d[1], o[3] = -d[1];
    }
}

/* o = G g. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(g)(const int m, const FLOATS *d, FLOATS *o) {
    if (m == 4) {
        const FLOATS a = (d[0] + d[2]) * (-1.0f / 6), b = d[1] * (1.0f / 6);
        const FLOATS e = d[0] * (1.0f / 24) + d[2] * (1.0f / 6), f = d[1] * (1.0f / 12);
        o[0] = d[0] * 0.25f, o[1] = a - b, o[2] = a + b, o[3] = e + f, o[4] = e - f, o[5] = d[2];
    } else {
        const FLOATS a = (d[0] + d[2]) * 0.5f, b = d[1] * 0.5f;
        o[0] = d[0], o[1] = a + b, o[2] = a - b, o[3] = d[2];
    }
}

/* o = G^T d. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(gt)(const int m, const FLOATS *d, FLOATS *o) {
    if (m == 4) {
        const FLOATS a = (d[1] + d[2]) * (1.0f / 6), b = (d[2] - d[1]) * (1.0f / 6), e = d[3] + d[4];
        o[0] = d[0] * 0.25f - a + e * (1.0f / 24), o[1] = b + (d[3] - d[4]) * (1.0f / 12);
        o[2] = e * (1.0f / 6) - a + d[5];
    } else {
        const FLOATS a = (d[1] + d[2]) * 0.5f;
        o[0] = d[0] + a, o[1] = (d[1] - d[2]) * 0.5f, o[2] = a + d[3];
    }
}

/* A transform of both axes of a square: of from_edge x from_edge vectors, which lie at x + i * row + j * column, to
 * to_edge x to_edge vectors, y[i][j].
 */
#define WINOGRAD_TRANSFORM(name, transform, from_edge, to_edge)                                                        \
    SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(name)(                                     \
        const int m, const float *x, ptrdiff_t row, ptrdiff_t column, FLOATS (*y)[6]) {                                \
        FLOATS half[6][6];                                                                                             \
        _Pragma("GCC unroll 6")                                                                                        \
        for (int j = 0; j < from_edge; j++) {                                                                          \
            FLOATS in[6], out[6];                                                                                      \
            _Pragma("GCC unroll 6")                                                                                    \
            for (int i = 0; i < from_edge; i++) in[i] = *(const FLOATS *)(x + i * row + j * column);                   \
            SIMD_NAME(transform)(m, in, out);                                                                          \
            _Pragma("GCC unroll 6")                                                                                    \
            for (int i = 0; i < to_edge; i++) half[i][j] = out[i];                                                     \
        }                                                                                                              \
        _Pragma("GCC unroll 6")                                                                                        \
        for (int i = 0; i < to_edge; i++) SIMD_NAME(transform)(m, half[i], y[i]);                                      \
    }

WINOGRAD_TRANSFORM(winograd_bt, bt, (m + 2), (m + 2))
WINOGRAD_TRANSFORM(winograd_at, at, (m + 2), m)
WINOGRAD_TRANSFORM(winograd_a, a, m, (m + 2))
WINOGRAD_TRANSFORM(winograd_g, g, 3, (m + 2))
WINOGRAD_TRANSFORM(winograd_gt, gt, (m + 2), 3)
#undef WINOGRAD_TRANSFORM

/* The transforms of the tiles side by side in a strip: of inputs, V = B^T d B, in m + 2 rows, or of the gradients of
 * outputs, A dy A^T, in m rows. Reads up to a vector beyond the last channel.
 */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(winograd_tiles)(
    const int m, const int is_gradient, const simd_winograd *s, const float *x, ptrdiff_t x_step, ptrdiff_t tiles,
    float *to) {
    const ptrdiff_t channels = is_gradient ? s->filters : s->channels, step = is_gradient ? s->m_step : s->v_step;
    const ptrdiff_t position = is_gradient ? s->m_position : s->v_position;
    for (ptrdiff_t tile = 0; tile < tiles; tile++, x += m * channels, to += step)
        for (ptrdiff_t c = 0; c < channels; c += SIMD_LANES) {
            FLOATS out[6][6];
            if (is_gradient) SIMD_NAME(winograd_a)(m, x + c, x_step, channels, out);
            else SIMD_NAME(winograd_bt)(m, x + c, x_step, channels, out);
#pragma GCC unroll 6
            for (int i = 0; i < m + 2; i++)
#pragma GCC unroll 6
                for (int j = 0; j < m + 2; j++) *(FLOATS *)(to + (i * (m + 2) + j) * position + c) = out[i][j];
        }
}

/* y = A^T M A of the tiles side by side in `rows` rows of `columns` outputs, for the filters from f0 to f1 - 1;
 * f0 is a multiple of a vector.
 */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(winograd_outputs)(
    const int m, const simd_winograd *s, const float *from, ptrdiff_t f0, ptrdiff_t f1, ptrdiff_t rows,
    ptrdiff_t columns, float *y, ptrdiff_t y_step) {
    for (ptrdiff_t column = 0; column < columns; column += m, from += s->m_step, y += m * s->filters) {
        const ptrdiff_t width = simd_least(columns - column, m);
        for (ptrdiff_t f = f0; f < f1; f += SIMD_LANES) {
            const ptrdiff_t count = simd_least(f1 - f, SIMD_LANES);
            FLOATS out[6][6];
            SIMD_NAME(winograd_at)(m, from + f, (m + 2) * s->m_position, s->m_position, out);
#pragma GCC unroll 4
            for (int i = 0; i < m; i++) {
                if (i >= rows) break;
#pragma GCC unroll 4
                for (int j = 0; j < m; j++) {
                    const FLOATS value = out[i][j];
                    float *const to = y + i * y_step + j * s->filters + f;
                    if (j >= width) break;
                    if (count == SIMD_LANES) *(FLOATS *)to = value;
                    else memcpy(to, &value, (size_t)count * sizeof *to);
                }
            }
        }
    }
}

/* U = G g G^T of one channel's taps (9, step), for `filters` filters, a multiple of two vectors; U is packed panels. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(winograd_weights)(
    const int m, const float *taps, ptrdiff_t step, ptrdiff_t filters, ptrdiff_t channels, float *u) {
    enum { WIDTH = 2 * SIMD_LANES };
    for (ptrdiff_t f = 0; f < filters; f += SIMD_LANES) {
        float *const to = u + f / WIDTH * WIDTH * channels + f % WIDTH;
        FLOATS out[6][6];
        SIMD_NAME(winograd_g)(m, taps + f, 3 * step, step, out);
#pragma GCC unroll 6
        for (int i = 0; i < m + 2; i++)
#pragma GCC unroll 6
            for (int j = 0; j < m + 2; j++) *(FLOATS *)(to + (i * (m + 2) + j) * channels * filters) = out[i][j];
    }
}

/* One channel's taps (9, step) of the weights' gradient, G^T dU G; dU has a row of filters for each position. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(winograd_weight_gradients)(
    const int m, const float *du, ptrdiff_t du_step, ptrdiff_t filters, float *taps, ptrdiff_t step) {
    for (ptrdiff_t f = 0; f < filters; f += SIMD_LANES) {
        FLOATS out[6][6];
        SIMD_NAME(winograd_gt)(m, du + f, (m + 2) * du_step, du_step, out);
#pragma GCC unroll 3
        for (int i = 0; i < 3; i++)
#pragma GCC unroll 3
            for (int j = 0; j < 3; j++) *(FLOATS *)(taps + (i * 3 + j) * step + f) = out[i][j];
    }
}

/* The functions above for tiles of 4 and of 2 outputs along an edge. */
#define WINOGRAD(m)                                                                                                    \
    SIMD_TARGET static void SIMD_NAME(winograd_inputs_##m)(const simd_winograd *s, const float *x, ptrdiff_t x_step,   \
                                                           ptrdiff_t tiles, float *v) {                                \
        SIMD_NAME(winograd_tiles)(m, 0, s, x, x_step, tiles, v);                                                       \
    }                                                                                                                  \
    SIMD_TARGET static void SIMD_NAME(winograd_output_gradients_##m)(                                                  \
        const simd_winograd *s, const float *dy, ptrdiff_t dy_step, ptrdiff_t tiles, float *to) {                      \
        SIMD_NAME(winograd_tiles)(m, 1, s, dy, dy_step, tiles, to);                                                    \
    }                                                                                                                  \
    SIMD_TARGET static void SIMD_NAME(winograd_outputs_##m)(                                                           \
        const simd_winograd *s, const float *from, ptrdiff_t f0, ptrdiff_t f1, ptrdiff_t rows, ptrdiff_t columns,      \
        float *y, ptrdiff_t y_step) {                                                                                  \
        SIMD_NAME(winograd_outputs)(m, s, from, f0, f1, rows, columns, y, y_step);                                     \
    }                                                                                                                  \
    SIMD_TARGET static void SIMD_NAME(winograd_weights_##m)(const float *taps, ptrdiff_t step, ptrdiff_t filters,      \
                                                            ptrdiff_t channels, float *u) {                            \
        SIMD_NAME(winograd_weights)(m, taps, step, filters, channels, u);                                              \
    }                                                                                                                  \
    SIMD_TARGET static void SIMD_NAME(winograd_weight_gradients_##m)(const float *du, ptrdiff_t du_step,               \
                                                                     ptrdiff_t filters, float *taps, ptrdiff_t step) { \
        SIMD_NAME(winograd_weight_gradients)(m, du, du_step, filters, taps, step);                                     \
    }                                                                                                                  \
    static const simd_winograd_functions SIMD_NAME(winograd_##m) = {                                                   \
        SIMD_NAME(winograd_inputs_##m), SIMD_NAME(winograd_output_gradients_##m), SIMD_NAME(winograd_outputs_##m),     \
        SIMD_NAME(winograd_weights_##m), SIMD_NAME(winograd_weight_gradients_##m)};

WINOGRAD(2)
WINOGRAD(4)
#undef WINOGRAD
