/* What differs in the strips of a depthwise convolution, of any stride and dilation: each filter sees one channel. The
 * gradient of the input is gathered as the outputs are: a pixel's is the sum over the windows that it lies in.
 */

/* The outputs of a strip whose inputs are copied. */
static void simd_depthwise_outputs(const simd_convolution_job *j, const simd_strip *strip) {
    const simd_convolution *s = j->convolution;
    const ptrdiff_t channels = s->channels;
    ptrdiff_t offsets[DEPTHWISE_TAPS], weights[DEPTHWISE_TAPS];
    simd_taps taps = {.count = simd_area(s), .channels = channels, .columns = strip->columns, .offsets = offsets,
                      .weights = weights, .weight = j->packed, .x_step = s->stride_w * channels, .y_step = channels};
    for (ptrdiff_t t = 0; t < taps.count; t++) {
        offsets[t] = t / s->kernel_w * s->dilation_h * strip->x_step + t % s->kernel_w * s->dilation_w * channels;
        weights[t] = t * channels;
    }
    for (ptrdiff_t row = 0; row < strip->rows; row++) {
        taps.x = strip->x + row * s->stride_h * strip->x_step;
        taps.y = strip->y + row * strip->columns * channels;
        j->level->depthwise(&taps);
    }
}

/* The gradients of a strip of the input, whose windows' gradients are copied. `first` is its first row. In a row the
 * pixels a stride apart lie in the same places of their windows: these are taken together.
 */
static void simd_depthwise_input_gradients(const simd_convolution_job *j, const simd_strip *strip, ptrdiff_t first) {
    const simd_convolution *s = j->convolution;
    const ptrdiff_t channels = s->channels;
    const ptrdiff_t top = simd_first_row(s, first), left = simd_first_column(s);
    ptrdiff_t offsets[DEPTHWISE_TAPS], weights[DEPTHWISE_TAPS];
    simd_taps taps = {.channels = channels, .offsets = offsets, .weights = weights, .weight = j->packed,
                      .x = strip->x, .x_step = channels, .y_step = s->stride_w * channels};
    for (ptrdiff_t row = 0; row < strip->rows; row++) {
        for (ptrdiff_t phase = 0; phase < simd_least(s->stride_w, strip->columns); phase++) {
            taps.count = 0;
            for (ptrdiff_t t = 0; t < simd_area(s); t++) {
                const ptrdiff_t h = first + row + s->padding_h - t / s->kernel_w * s->dilation_h;
                const ptrdiff_t w = phase + s->padding_w - t % s->kernel_w * s->dilation_w;
                if (h % s->stride_h || w % s->stride_w) continue;
                offsets[taps.count] = (h / s->stride_h - top) * strip->x_step + (w / s->stride_w - left) * channels;
                weights[taps.count++] = t * channels;
            }
            taps.columns = simd_parts(strip->columns - phase, s->stride_w);
            taps.y = strip->y + (row * strip->columns + phase) * channels;
            j->level->depthwise(&taps);
        }
    }
}

/* Pack the weights of some channels: (taps, channels). */
static void simd_depthwise_pack(const simd_convolution_job *j, ptrdiff_t first, ptrdiff_t end) {
    const simd_convolution *s = j->convolution;
    const ptrdiff_t area = simd_area(s);
    j->level->transpose(s->weight + first * area, area, end - first, area, j->packed + first, s->channels);
}
