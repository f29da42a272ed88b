/* Strips, by which convolutions go through their images.
 *
 * A strip is some whole rows of outputs of one image. What lies under it is copied, channels last and with its padding,
 * to where it stays in the second-level cache, however high the images are.
 */

/* Tasks that there are at least, where the shape gives as many. */
#define LEAST_TASKS 8
/* Channels whose weights a task packs, or unpacks. */
#define PACK_CHANNELS 4

/* A part of a block of memory, or NULL where the size alone is wanted. */
typedef struct {
    uint8_t *start;
    ptrdiff_t size;
} simd_memory;

/* Whole cache lines, in floats. */
static ptrdiff_t simd_in_lines(ptrdiff_t floats) { return simd_parts(floats, SIMD_LINE) * SIMD_LINE; }

static float *simd_take(simd_memory *memory, ptrdiff_t floats) {
    uint8_t *const found = memory->start ? memory->start + memory->size : NULL;
    memory->size += simd_in_lines(floats) * (ptrdiff_t)sizeof(float);
    return (float *)found;
}

/* The bytes to ask for, of which those before the first cache line are not used. */
static ptrdiff_t simd_taken(const simd_memory *memory) {
    return memory->size + SIMD_LINE * (ptrdiff_t)sizeof(float);
}

typedef struct {
    const simd_convolution *convolution;
    const simd_level *level;
    ptrdiff_t rows, strips;         /* output rows of a strip, and strips of an image */
    ptrdiff_t x_rows, x_columns;    /* of the padded input under a strip */
    ptrdiff_t group, tasks;         /* strips that are taken together, and tasks */
    ptrdiff_t groups, slices;       /* of images or strips, and of filters or channels; a task is one of each */
    simd_winograd winograd;
    ptrdiff_t tiles;                /* side by side in a strip */
    /* Of Winograd's gradient: the first strip of the group, the first strip of the chunk, and how many a chunk has. */
    ptrdiff_t start, chunk, chunk_strips;
    /* Memory: of all threads, and of each one, `slot_size` floats apart. */
    float *packed, *dweights, *v, *m, *of_slots;
    ptrdiff_t slot_size, x_size, y_size, v_size, m_size, row_size;
} simd_convolution_job;

/* Where a thread's strip of the input begins, its strip of outputs, and what follows that. */
static float *simd_slot_x(const simd_convolution_job *j, int slot) { return j->of_slots + slot * j->slot_size; }
static float *simd_slot_y(const simd_convolution_job *j, int slot) { return simd_slot_x(j, slot) + j->x_size; }
static float *simd_slot_rows(const simd_convolution_job *j, int slot) { return simd_slot_y(j, slot) + j->y_size; }
static float *simd_slot_rest(const simd_convolution_job *j, int slot) { return simd_slot_rows(j, slot) + j->row_size; }

static ptrdiff_t simd_area(const simd_convolution *s) { return s->kernel_h * s->kernel_w; }

/* Channels that a filter sees. */
static ptrdiff_t simd_filter_channels(const simd_convolution *s) {
    return s->tile == SIMD_DEPTHWISE ? 1 : s->channels;
}

/* Multiplications of a direct convolution. */
static double simd_convolution_work(const simd_convolution *s) {
    return (double)s->n * s->filters * s->out_h * s->out_w * simd_filter_channels(s) * (double)simd_area(s);
}

static ptrdiff_t simd_padded_filters(const simd_level *level, const simd_convolution *s) {
    return simd_parts(s->filters, 2 * level->lanes) * 2 * level->lanes;
}

/* Phases of an image. */
static ptrdiff_t simd_phases(const simd_convolution *s) { return s->phases_h * s->phases_w; }

/* Which image, or phase of an image, a strip is of, and its first row of outputs. */
static ptrdiff_t simd_strip_image(const simd_convolution_job *j, ptrdiff_t strip) { return strip / j->strips; }
static ptrdiff_t simd_strip_row(const simd_convolution_job *j, ptrdiff_t strip) { return strip % j->strips * j->rows; }

/* Rows of outputs in a strip. */
static ptrdiff_t simd_strip_rows(const simd_convolution_job *j, ptrdiff_t strip) {
    return simd_least(j->rows, j->convolution->out_h - simd_strip_row(j, strip));
}

/* ------------------------------------------------------------------------------------------------- what is read */

/* Rows or columns behind the pooling. */
static ptrdiff_t simd_pooled(const simd_outputs *o, ptrdiff_t size) { return o->pool ? size / 2 : size; }

/* Whether the gradients of the convolution's outputs are dy as it is. */
static int simd_is_plain(const simd_outputs *o) { return o->slope == 1 && o->pool == SIMD_POOL_NONE; }

/* Floats of a thread's row of dy and of y, which are transposed before they are used. */
static ptrdiff_t simd_row_size(const simd_outputs *o) {
    return simd_is_plain(o) || o->channels_last ? 0 : simd_in_lines(2 * simd_pooled(o, o->width) * o->filters);
}

/* to (count, channels) = some pixels of row h of an image. */
static void simd_copy_row(const simd_level *level, const float *image, int channels_last, ptrdiff_t channels,
                          ptrdiff_t height, ptrdiff_t width, ptrdiff_t h, ptrdiff_t first, ptrdiff_t count, float *to) {
    if (channels_last || channels == 1)
        memcpy(to, image + (h * width + first) * channels, (size_t)(count * channels) * sizeof *to);
    else
        level->transpose(image + h * width + first, height * width, channels, count, to, channels);
}

/* to (count, filters) = the gradients with respect to the convolution's outputs in a part of row h of image n. */
static void simd_gradient_row(const simd_level *level, const simd_outputs *o, ptrdiff_t n, ptrdiff_t h, ptrdiff_t first,
                              ptrdiff_t count, float *of_row, float *to) {
    const ptrdiff_t height = simd_pooled(o, o->height), width = simd_pooled(o, o->width), row = o->pool ? h / 2 : h;
    const ptrdiff_t row_size = width * o->filters, image = n * o->groups * height * row_size;
    const float *dy = o->dy + image;
    if (simd_is_plain(o)) {
        simd_copy_row(level, dy, o->channels_last, o->filters, height, width, h, first, count, to);
        return;
    }
    const float *y = o->pool ? NULL : o->y + image;
    /* A row or column that no window of the pooling reaches has no gradient. */
    const ptrdiff_t end = row < height ? simd_within(o->pool ? 2 * width : width, first + count) : 0;
    if (end > first) {
        const uint8_t *const codes = o->pool ? o->codes + image + row * row_size : NULL;
        if (o->channels_last) {
            dy += row * row_size, y = o->pool ? NULL : y + row * row_size;
        } else {
            simd_copy_row(level, dy, 0, o->filters, height, width, row, 0, width, of_row);
            if (!o->pool) simd_copy_row(level, y, 0, o->filters, height, width, row, 0, width, of_row + row_size);
            dy = of_row, y = of_row + row_size;
        }
        level->output_gradients(o, dy, y, codes, h & 1, first, end, to);
    }
    const ptrdiff_t done = end > first ? end - first : 0;
    memset(to + done * o->filters, 0, (size_t)((count - done) * o->filters) * sizeof *to);
}

/* to (count, channels) = pixels of row h of an image in NCHW that lie `step` columns apart. */
static void simd_copy_phase_row(const float *image, ptrdiff_t channels, ptrdiff_t height, ptrdiff_t width, ptrdiff_t h,
                                ptrdiff_t first, ptrdiff_t step, ptrdiff_t count, float *to) {
    const float *from = image + h * width + first;
    for (ptrdiff_t c = 0; c < channels; c++, from += height * width)
        for (ptrdiff_t i = 0; i < count; i++) to[i * channels + c] = from[i * step];
}

/* to (rows, columns, channels) = the part of image or phase n from a row and a column on, with zeros outside of the
 * image: of x, or of the gradients with respect to the convolution's outputs.
 */
static void simd_strip_copy(const simd_convolution_job *j, int is_gradient, ptrdiff_t n, ptrdiff_t row, ptrdiff_t rows,
                            ptrdiff_t column, ptrdiff_t columns, float *of_row, float *to) {
    const simd_convolution *s = j->convolution;
    const simd_outputs *o = &s->outputs;
    const ptrdiff_t height = is_gradient ? o->height : s->height, width = is_gradient ? o->width : s->width;
    const ptrdiff_t channels = is_gradient ? o->filters : s->channels;
    const ptrdiff_t image = n / simd_phases(s), phase = n % simd_phases(s);
    /* The inputs of a phase have their padding subtracted here, and other inputs in `row` and `column`. */
    const int is_padded = simd_phases(s) > 1 && is_gradient == s->is_adjoint;
    const ptrdiff_t top = row * s->phases_h + phase / s->phases_w - (is_padded ? s->padding_h : 0);
    const ptrdiff_t start = column * s->phases_w + phase % s->phases_w - (is_padded ? s->padding_w : 0);
    const ptrdiff_t left = simd_within(simd_parts(-start, s->phases_w), columns);
    const ptrdiff_t right = simd_within(simd_parts(width - start, s->phases_w), columns);
    const ptrdiff_t first = start + left * s->phases_w;
    const float *const whole = (is_gradient ? o->dy : s->x) + image * s->groups * channels * height * width;
    for (ptrdiff_t h = top; h < top + rows * s->phases_h; h += s->phases_h, to += columns * channels) {
        float *const inside = to + left * channels;
        if (h < 0 || h >= height || right <= left) {
            memset(to, 0, (size_t)(columns * channels) * sizeof *to);
            continue;
        }
        memset(to, 0, (size_t)(left * channels) * sizeof *to);
        if (simd_phases(s) > 1)
            simd_copy_phase_row(whole, channels, height, width, h, first, s->phases_w, right - left, inside);
        else if (is_gradient)
            simd_gradient_row(j->level, o, image, h, first, right - left, of_row, inside);
        else
            simd_copy_row(j->level, whole, s->x_channels_last, channels, height, width, h, first, right - left, inside);
        memset(to + right * channels, 0, (size_t)((columns - right) * channels) * sizeof *to);
    }
}

/* Whether a convolution is the gradient of a depthwise one's input: outputs are then pixels, and inputs windows. */
static int simd_is_depthwise_adjoint(const simd_convolution *s) { return s->is_adjoint && s->tile == SIMD_DEPTHWISE; }

/* The greatest integer that is at most a / b, for b > 0. */
static ptrdiff_t simd_floor(ptrdiff_t a, ptrdiff_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

/* Where the inputs of an output row, or of the first column, begin: row and column of simd_strip_copy. */
static ptrdiff_t simd_first_row(const simd_convolution *s, ptrdiff_t row) {
    if (simd_phases(s) > 1) return row;
    if (!simd_is_depthwise_adjoint(s)) return row * s->stride_h - s->padding_h;
    return simd_floor(row + s->padding_h - (s->kernel_h - 1) * s->dilation_h, s->stride_h);
}

static ptrdiff_t simd_first_column(const simd_convolution *s) {
    if (simd_phases(s) > 1) return 0;
    if (!simd_is_depthwise_adjoint(s)) return -s->padding_w;
    return simd_floor(s->padding_w - (s->kernel_w - 1) * s->dilation_w, s->stride_w);
}

/* Rows of the inputs of so many output rows, at most; the same for columns. */
static ptrdiff_t simd_input_size(const simd_convolution *s, ptrdiff_t outputs, ptrdiff_t kernel, ptrdiff_t dilation,
                                 ptrdiff_t stride) {
    const ptrdiff_t extent = (kernel - 1) * dilation;
    return simd_is_depthwise_adjoint(s) ? (outputs - 1 + extent) / stride + 2 : (outputs - 1) * stride + extent + 1;
}

/* Copy what lies under a strip. */
static void simd_strip_inputs(const simd_convolution_job *j, ptrdiff_t strip, int slot) {
    const simd_convolution *s = j->convolution;
    simd_strip_copy(j, s->is_adjoint, simd_strip_image(j, strip), simd_first_row(s, simd_strip_row(j, strip)),
                    j->x_rows, simd_first_column(s), j->x_columns, simd_slot_rows(j, slot), simd_slot_x(j, slot));
}

/* Copy the gradients of some rows of a strip's outputs, and zeros for columns beyond the image. */
static void simd_strip_output_gradients(const simd_convolution_job *j, ptrdiff_t strip, ptrdiff_t rows,
                                        ptrdiff_t columns, int slot) {
    simd_strip_copy(j, 1, simd_strip_image(j, strip), simd_strip_row(j, strip), rows, 0, columns,
                    simd_slot_rows(j, slot), simd_slot_y(j, slot));
}

/* ---------------------------------------------------------------------------------------------- what is written */

/* Where a strip's outputs (rows, out_w, filters) are computed: in place, or in the thread's memory, from which
 * `simd_strip_outputs` takes them.
 */
static float *simd_strip_target(const simd_convolution_job *j, ptrdiff_t strip, int slot) {
    const simd_convolution *s = j->convolution;
    const int channels_last = s->is_adjoint ? s->x_channels_last : s->outputs.channels_last && !s->outputs.pool;
    const ptrdiff_t row = simd_strip_image(j, strip) * s->out_h + simd_strip_row(j, strip);
    return channels_last ? (s->is_adjoint ? s->x : s->outputs.y) + row * s->out_w * s->filters : simd_slot_y(j, slot);
}

/* Write rows of outputs of phase n, from a row on, to where they lie in their image. */
static void simd_write_phase(const simd_convolution *s, ptrdiff_t n, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t f0,
                             ptrdiff_t f1, const float *outputs) {
    const ptrdiff_t image = n / simd_phases(s), phase = n % simd_phases(s);
    const ptrdiff_t top = row * s->phases_h + phase / s->phases_w, left = phase % s->phases_w;
    const ptrdiff_t size = s->whole_h * s->whole_w, columns = simd_parts(s->whole_w - left, s->phases_w);
    float *const y = (s->is_adjoint ? s->x : s->outputs.y) + image * s->groups * s->filters * size;
    for (ptrdiff_t r = 0; r < simd_least(rows, simd_parts(s->whole_h - top, s->phases_h)); r++)
        for (ptrdiff_t f = f0; f < f1; f++) {
            float *const to = y + f * size + (top + r * s->phases_h) * s->whole_w + left;
            const float *const from = outputs + r * s->out_w * s->filters + f;
            for (ptrdiff_t q = 0; q < columns; q++) to[q * s->phases_w] = from[q * s->filters];
        }
}

/* Finish the filters from f0 to f1 - 1 of a strip of outputs, which are where simd_strip_target says. */
static void simd_strip_outputs(const simd_convolution_job *j, ptrdiff_t strip, ptrdiff_t f0, ptrdiff_t f1,
                               float *outputs) {
    const simd_convolution *s = j->convolution;
    const simd_outputs *o = &s->outputs;
    const ptrdiff_t n = simd_strip_image(j, strip), step = s->out_w * s->filters;
    const int has_pool = !s->is_adjoint && o->pool;
    const ptrdiff_t width = has_pool ? s->out_w / 2 : s->out_w, height = has_pool ? s->out_h / 2 : s->out_h;
    const ptrdiff_t row = simd_strip_row(j, strip) / (has_pool ? 2 : 1);
    const ptrdiff_t rows = simd_strip_rows(j, strip) / (has_pool ? 2 : 1);
    float *const image = (s->is_adjoint ? s->x : o->y) + n / simd_phases(s) * s->groups * height * width * s->filters;
    const int channels_last = s->is_adjoint ? s->x_channels_last : o->channels_last;
    if (has_pool) {
        const ptrdiff_t row_size = width * s->filters;
        for (ptrdiff_t r = 0; r < rows; r++) {
            uint8_t *const codes = o->codes ? o->codes + (n * height + row + r) * row_size : NULL;
            j->level->pool_outputs(o, outputs + 2 * r * step, step, width, f0, f1,
                                   channels_last ? image + (row + r) * row_size : outputs + r * row_size, codes);
        }
    } else if (!s->is_adjoint) {
        j->level->activate(o, outputs, rows * width, f0, f1);
    }
    if (simd_phases(s) > 1)
        simd_write_phase(s, n, simd_strip_row(j, strip), rows, f0, f1, outputs);
    else if (!channels_last)
        j->level->transpose(outputs + f0, s->filters, rows * width, f1 - f0, image + f0 * height * width + row * width,
                            height * width);
}
