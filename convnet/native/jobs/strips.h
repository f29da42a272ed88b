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
    ptrdiff_t groups, slices;       /* of images, and of filters or channels, of which a task is one */
    simd_winograd winograd;
    ptrdiff_t tiles;                /* side by side in a strip */
    ptrdiff_t chunk, chunk_strips;  /* the first of the strips that Winograd's gradient has in hand, and how many */
    /* Memory: of all threads, and of each one, `slot_size` floats apart. */
    float *packed, *dweights, *dbias, *v, *m, *of_slots;
    ptrdiff_t slot_size, x_size, y_size, v_size, m_size;
} simd_convolution_job;

/* Where a thread's strip of the input begins, its strip of outputs, and what follows that. */
static float *simd_slot_x(const simd_convolution_job *j, int slot) { return j->of_slots + slot * j->slot_size; }
static float *simd_slot_y(const simd_convolution_job *j, int slot) { return simd_slot_x(j, slot) + j->x_size; }
static float *simd_slot_rest(const simd_convolution_job *j, int slot) { return simd_slot_y(j, slot) + j->y_size; }

static ptrdiff_t simd_area(const simd_convolution *s) { return s->kernel_h * s->kernel_w; }

/* Floats of one image of either side. */
static ptrdiff_t simd_x_size(const simd_convolution *s) { return s->channels * s->height * s->width; }
static ptrdiff_t simd_y_size(const simd_convolution *s) { return s->filters * s->out_h * s->out_w; }

/* Multiplications of a direct convolution. */
static double simd_convolution_work(const simd_convolution *s) {
    return (double)s->n * s->filters * s->out_h * s->out_w * s->channels * (double)simd_area(s);
}

static ptrdiff_t simd_padded_filters(const simd_level *level, const simd_convolution *s) {
    return simd_parts(s->filters, 2 * level->lanes) * 2 * level->lanes;
}

/* to (rows, columns, channels) = the part of an image from a row and a column on, with zeros outside of the image. */
static void simd_strip_copy(const simd_level *level, const float *image, ptrdiff_t channels, ptrdiff_t height,
                            ptrdiff_t width, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t column, ptrdiff_t columns,
                            float *to) {
    const ptrdiff_t left = simd_within(-column, columns), right = simd_within(width - column, columns);
    for (ptrdiff_t h = row; h < row + rows; h++, to += columns * channels) {
        if (h < 0 || h >= height || right <= left) {
            memset(to, 0, (size_t)(columns * channels) * sizeof *to);
            continue;
        }
        const ptrdiff_t first = column + left;
        float *const inside = to + left * channels;
        memset(to, 0, (size_t)(left * channels) * sizeof *to);
        if (channels == 1)
            memcpy(inside, image + h * width + first, (size_t)(right - left) * sizeof *to);
        else
            level->transpose(image + h * width + first, height * width, channels, right - left, inside, channels);
        memset(to + right * channels, 0, (size_t)((columns - right) * channels) * sizeof *to);
    }
}

/* Which image a strip is of, and its first row of outputs. */
static ptrdiff_t simd_strip_image(const simd_convolution_job *j, ptrdiff_t strip) { return strip / j->strips; }
static ptrdiff_t simd_strip_row(const simd_convolution_job *j, ptrdiff_t strip) { return strip % j->strips * j->rows; }

/* Copy what lies under a strip. */
static void simd_strip_inputs(const simd_convolution_job *j, ptrdiff_t strip, float *to) {
    const simd_convolution *s = j->convolution;
    simd_strip_copy(j->level, s->x + simd_strip_image(j, strip) * simd_x_size(s), s->channels, s->height, s->width,
                    simd_strip_row(j, strip) * s->stride_h - s->padding_h, j->x_rows, -s->padding_w, j->x_columns, to);
}

/* Copy the gradients of some rows of a strip's outputs, and zeros for columns beyond the image. */
static void simd_strip_output_gradients(const simd_convolution_job *j, ptrdiff_t strip, ptrdiff_t rows,
                                        ptrdiff_t columns, float *to) {
    const simd_convolution *s = j->convolution;
    simd_strip_copy(j->level, s->dy + simd_strip_image(j, strip) * simd_y_size(s), s->filters, s->out_h, s->out_w,
                    simd_strip_row(j, strip), rows, 0, columns, to);
}

/* Write the filters from f0 to f1 - 1 of a strip of outputs (rows, out_w, filters) to their place in the image. */
static void simd_strip_outputs(const simd_convolution_job *j, ptrdiff_t strip, ptrdiff_t rows, ptrdiff_t f0,
                               ptrdiff_t f1, const float *from) {
    const simd_convolution *s = j->convolution;
    const ptrdiff_t area = s->out_h * s->out_w;
    float *const y = s->y + simd_strip_image(j, strip) * simd_y_size(s) + simd_strip_row(j, strip) * s->out_w;
    j->level->transpose(from + f0, s->filters, rows * s->out_w, f1 - f0, y + f0 * area, area);
}

/* Rows of outputs in a strip. */
static ptrdiff_t simd_strip_rows(const simd_convolution_job *j, ptrdiff_t strip) {
    return simd_least(j->rows, j->convolution->out_h - simd_strip_row(j, strip));
}
