/* Convolutions of stride 1 of images in NCHW, with vectors of columns, and the gradients of their weights, on the
 * threads of the pool: tiles/planar.h.
 *
 * Under a strip lie its input rows, each channel by channel: (rows, channels, x_columns), with zeros to the left and to
 * the right of the image. Rows above and below the image have room, but are not written: what a vector may read of them
 * is not used.
 */

/* Where the weights of filter f and channel c lie, packed as (filters, kernel_h, channels, kernel_w): that of tap t. */
static ptrdiff_t simd_planar_position(const simd_convolution *s, ptrdiff_t f, ptrdiff_t c, ptrdiff_t t) {
    return ((f * s->kernel_h + t / s->kernel_w) * s->channels + c) * s->kernel_w + t % s->kernel_w;
}

/* Columns of a strip's gradients: whole vectors. */
static ptrdiff_t simd_planar_columns(const simd_convolution_job *j) {
    return simd_parts(j->convolution->out_w, j->level->lanes) * j->level->lanes;
}

/* Divide the images into strips, of which those for the gradients of the weights hold the outputs' gradients, too. */
static void simd_planar_strips(simd_convolution_job *j, int has_gradients) {
    const simd_convolution *s = j->convolution;
    simd_direct_strips(j);
    j->y_size = 0;
    if (has_gradients) {
        j->x_columns = simd_planar_columns(j) + s->kernel_w - 1;
        j->y_size = simd_in_lines(j->rows * s->filters * simd_planar_columns(j));
    }
    /* The last vectors of a row of outputs read on behind what lies under them. */
    j->x_size = simd_in_lines(j->x_rows * j->x_columns * s->channels + SIMD_COLUMNS);
    const ptrdiff_t pixels = j->x_columns * s->outputs.filters;
    j->slot_size = j->x_size + j->y_size + j->row_size + simd_in_lines(pixels);
}

/* to (channels, columns) = row h of image n, with so many zeros to its left: of x, or of the gradients with respect to
 * the convolution's outputs.
 */
static void simd_planar_row(const simd_convolution_job *j, int is_gradient, ptrdiff_t n, ptrdiff_t h, ptrdiff_t padding,
                            ptrdiff_t columns, int slot, float *to) {
    const simd_convolution *s = j->convolution;
    const simd_outputs *o = &s->outputs;
    const ptrdiff_t channels = is_gradient ? o->filters : s->channels, height = is_gradient ? o->height : s->height;
    const ptrdiff_t width = is_gradient ? o->width : s->width, left = simd_within(padding, columns);
    const ptrdiff_t count = simd_within(width + padding, columns) - left, first = left - padding;
    const int is_plane = !is_gradient || (simd_is_plain(o) && !o->channels_last);
    const float *const x = (is_gradient ? o->dy : s->x) + (n * s->groups * channels * height + h) * width;
    for (ptrdiff_t c = 0; c < channels; c++) {
        float *const row = to + c * columns;
        memset(row, 0, (size_t)columns * sizeof *row);
        if (is_plane && count > 0) memcpy(row + left, x + c * height * width + first, (size_t)count * sizeof *row);
    }
    if (is_plane || count <= 0) return;
    float *const pixels = simd_slot_rest(j, slot);
    simd_gradient_row(j->level, o, n, h, first, count, simd_slot_rows(j, slot), pixels);
    j->level->transpose(pixels, channels, count, channels, to + left, columns);
}

/* A strip with its inputs copied. */
static simd_strip simd_planar_strip(const simd_convolution_job *j, ptrdiff_t index, int slot) {
    const simd_convolution *s = j->convolution;
    const ptrdiff_t row = simd_strip_row(j, index) - s->padding_h, rows = simd_strip_rows(j, index);
    const ptrdiff_t x_rows = rows + s->kernel_h - 1, step = s->channels * j->x_columns;
    const simd_strip strip = {
        .channels = s->channels, .filters = s->filters, .kernel_h = s->kernel_h, .kernel_w = s->kernel_w,
        .rows = rows, .columns = s->out_w, .top = simd_within(-row, x_rows),
        .bottom = simd_within(s->height - row, x_rows), .x = simd_slot_x(j, slot), .x_step = step};
    for (ptrdiff_t r = strip.top; r < strip.bottom; r++)
        simd_planar_row(j, s->is_adjoint, simd_strip_image(j, index), row + r, s->padding_w, j->x_columns, slot,
                        simd_slot_x(j, slot) + r * step);
    return strip;
}

/* ----------------------------------------------------------------------------------------------------- forward */

/* Pack the weights of some channels. */
static void simd_planar_pack_task(void *job, ptrdiff_t index, int slot) {
    const simd_convolution_job *j = job;
    const simd_convolution *s = j->convolution;
    const ptrdiff_t area = simd_area(s), first = index * PACK_CHANNELS;
    const ptrdiff_t end = simd_least(first + PACK_CHANNELS, s->channels);
    (void)slot;
    for (ptrdiff_t f = 0; f < s->filters; f++)
        for (ptrdiff_t c = first; c < end; c++) {
            const float *const taps = s->weight + (s->is_adjoint ? c * s->filters + f : f * s->channels + c) * area;
            for (ptrdiff_t t = 0; t < area; t++)
                j->packed[simd_planar_position(s, f, c, t)] = taps[s->is_adjoint ? area - 1 - t : t];
        }
}

static void simd_planar_task(void *job, ptrdiff_t index, int slot) {
    const simd_convolution_job *j = job;
    const simd_convolution *s = j->convolution;
    const ptrdiff_t plane = s->out_h * s->out_w;
    simd_strip strip = simd_planar_strip(j, index, slot);
    strip.weight = j->packed, strip.y_step = plane;
    strip.y = (s->is_adjoint ? s->x : s->outputs.y) + simd_strip_image(j, index) * s->groups * s->filters * plane +
              simd_strip_row(j, index) * s->out_w;
    j->level->planar(&strip);
    for (ptrdiff_t f = 0; f < s->filters && !s->is_adjoint; f++)
        for (ptrdiff_t i = 0; i < strip.rows * s->out_w; i++) strip.y[f * plane + i] += s->outputs.bias[f];
}

/* Floats of the packed weights. */
static ptrdiff_t simd_planar_packed(const simd_convolution_job *j) {
    return j->convolution->filters * j->convolution->channels * simd_area(j->convolution);
}

/* Plan such a convolution, as simd_direct_plan does. */
static ptrdiff_t simd_planar_plan(simd_convolution_job *j, int threads, uint8_t *scratch) {
    const simd_convolution *s = j->convolution;
    simd_memory memory = {scratch ? simd_at_line(scratch) : NULL, 0};
    simd_planar_strips(j, 0);
    j->tasks = s->n * j->strips;
    j->packed = s->packed ? s->packed : simd_take(&memory, simd_planar_packed(j));
    j->of_slots = simd_take(&memory, threads * j->slot_size);
    return simd_taken(&memory);
}

/* --------------------------------------------------------------------------------- gradients of the weights */

/* Floats of a group's sums: a vector for each weight, in the order of the packed ones, and for each bias. */
static ptrdiff_t simd_planar_sums(const simd_convolution_job *j) {
    return (simd_planar_packed(j) + j->convolution->filters) * j->level->lanes;
}

/* The sums of a group of images. */
static void simd_planar_gradients_task(void *job, ptrdiff_t group, int slot) {
    const simd_convolution_job *j = job;
    const simd_convolution *s = j->convolution;
    const ptrdiff_t columns = simd_planar_columns(j), stop = s->n * (group + 1) / j->groups * j->strips;
    float *const sums = j->dweights + group * simd_planar_sums(j), *const dy = simd_slot_y(j, slot);
    memset(sums, 0, (size_t)simd_planar_sums(j) * sizeof *sums);
    for (ptrdiff_t i = s->n * group / j->groups * j->strips; i < stop; i++) {
        simd_strip strip = simd_planar_strip(j, i, slot);
        strip.dy = dy, strip.y_step = s->filters * columns;
        strip.dweight = sums, strip.dbias = sums + simd_planar_packed(j) * j->level->lanes;
        for (ptrdiff_t r = 0; r < strip.rows; r++)
            simd_planar_row(j, 1, simd_strip_image(j, i), simd_strip_row(j, i) + r, 0, columns, slot,
                            dy + r * strip.y_step);
        j->level->planar_gradients(&strip);
    }
}

/* The sum of all groups' vectors, in order. */
static float simd_planar_total(const simd_convolution_job *j, ptrdiff_t vector) {
    float total = 0;
    for (ptrdiff_t group = 0; group < j->groups; group++)
        for (ptrdiff_t lane = 0; lane < j->level->lanes; lane++)
            total += j->dweights[group * simd_planar_sums(j) + vector * j->level->lanes + lane];
    return total;
}

/* Write the gradients of the weights of some channels. */
static void simd_planar_add_task(void *job, ptrdiff_t index, int slot) {
    const simd_convolution_job *j = job;
    const simd_convolution *s = j->convolution;
    const ptrdiff_t area = simd_area(s), first = index * PACK_CHANNELS;
    const ptrdiff_t end = simd_least(first + PACK_CHANNELS, s->channels);
    (void)slot;
    for (ptrdiff_t f = 0; f < s->filters; f++)
        for (ptrdiff_t c = first; c < end; c++)
            for (ptrdiff_t t = 0; t < area; t++)
                s->dweight[(f * s->channels + c) * area + t] = simd_planar_total(j, simd_planar_position(s, f, c, t));
}

static void simd_planar_add_biases(const simd_convolution_job *j) {
    const simd_convolution *s = j->convolution;
    for (ptrdiff_t f = 0; f < s->filters; f++) s->dbias[f] = simd_planar_total(j, simd_planar_packed(j) + f);
}

/* Plan the gradients of such a convolution's weights and biases, as simd_direct_plan does. */
static ptrdiff_t simd_planar_gradients_plan(simd_convolution_job *j, int threads, uint8_t *scratch) {
    const simd_convolution *s = j->convolution;
    const ptrdiff_t most = SIMD_GROUPS_BYTES / (simd_planar_sums(j) * (ptrdiff_t)sizeof(float));
    simd_memory memory = {scratch ? simd_at_line(scratch) : NULL, 0};
    simd_planar_strips(j, 1);
    j->groups = simd_least(simd_least(SIMD_GROUPS, s->n), most > 1 ? most : 1);
    j->tasks = j->groups;
    j->dweights = simd_take(&memory, j->groups * simd_planar_sums(j));
    j->of_slots = simd_take(&memory, threads * j->slot_size);
    return simd_taken(&memory);
}
