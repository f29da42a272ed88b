/* Direct convolutions and the gradients of their weights, on the threads of the pool, depthwise ones among them. The
 * weights are packed before, once for all images.
 */

/* Floats of a strip's input, about, if one row has no more: they and a panel of weights fit the second-level cache. */
#define STRIP_SIZE 16384
/* The same for a depthwise convolution, whose weights are few. */
#define DEPTHWISE_STRIP_SIZE 32768

/* Divide the images into strips of direct convolutions. */
static void simd_direct_strips(simd_convolution_job *j) {
    const simd_convolution *s = j->convolution;
    const ptrdiff_t size = s->tile == SIMD_DEPTHWISE ? DEPTHWISE_STRIP_SIZE : STRIP_SIZE;
    const ptrdiff_t step = simd_is_depthwise_adjoint(s) ? 1 : s->stride_h;
    j->x_columns = simd_input_size(s, s->out_w, s->kernel_w, s->dilation_w, s->stride_w);
    const ptrdiff_t most = simd_within(size / (step * j->x_columns * s->channels) - 1, s->out_h - 1) + 1;
    j->strips = simd_parts(s->out_h, most);
    if (s->n * j->strips < LEAST_TASKS) j->strips = simd_least(simd_parts(LEAST_TASKS, s->n), s->out_h);
    j->rows = simd_parts(s->out_h, j->strips);
    if (s->outputs.pool) j->rows += j->rows % 2;    /* no window of the pooling lies in two strips */
    j->strips = simd_parts(s->out_h, j->rows);
    j->x_rows = simd_input_size(s, j->rows, s->kernel_h, s->dilation_h, s->stride_h);
    j->x_size = simd_in_lines(j->x_rows * j->x_columns * s->channels);
    j->y_size = simd_in_lines(j->rows * s->out_w * s->filters), j->row_size = simd_row_size(&s->outputs);
    j->slot_size = j->x_size + j->y_size + j->row_size;
}

/* A strip with its inputs copied. */
static simd_strip simd_direct_strip(const simd_convolution_job *j, ptrdiff_t strip, int slot) {
    const simd_convolution *s = j->convolution;
    const ptrdiff_t row = simd_first_row(s, simd_strip_row(j, strip));
    const int is_whole = simd_phases(s) == 1;       /* a phase has all rows of the kernel */
    simd_strip_inputs(j, strip, slot);
    return (simd_strip){
        .channels = s->channels, .filters = s->filters, .kernel_h = s->kernel_h, .kernel_w = s->kernel_w,
        .stride_h = s->stride_h, .stride_w = s->stride_w, .dilation_h = s->dilation_h, .dilation_w = s->dilation_w,
        .rows = simd_strip_rows(j, strip), .columns = s->out_w, .top = is_whole ? simd_within(-row, j->x_rows) : 0,
        .bottom = is_whole ? simd_within(s->height - row, j->x_rows) : j->x_rows,
        .x = simd_slot_x(j, slot), .x_step = j->x_columns * s->channels};
}

/* ----------------------------------------------------------------------------------------------------- forward */

/* Pack the weights of some channels: (panels of two vectors of filters, kernel_h, kernel_w, channels, two vectors). */
static void simd_direct_pack_task(void *job, ptrdiff_t index, int slot) {
    const simd_convolution_job *j = job;
    const simd_convolution *s = j->convolution;
    const ptrdiff_t width = 2 * j->level->lanes, area = simd_area(s), step = s->channels * width;
    const ptrdiff_t first = index * PACK_CHANNELS, end = simd_least(first + PACK_CHANNELS, s->channels);
    (void)slot;
    if (s->tile == SIMD_DEPTHWISE) {
        simd_depthwise_pack(j, first, end);
        return;
    }
    for (ptrdiff_t c = first; c < end; c++) {
        for (ptrdiff_t f = 0; f < s->filters; f += width) {
            float *const packed = j->packed + f * area * s->channels + c * width;
            const ptrdiff_t count = simd_least(s->filters - f, width);
            if (s->is_adjoint)
                j->level->transpose(s->weight + (c * s->filters + f) * area, area, count, area,
                                    packed + (area - 1) * step, -step);
            else
                j->level->transpose(s->weight + (f * s->channels + c) * area, s->channels * area, count, area, packed,
                                    step);
            for (ptrdiff_t tap = 0; tap < area; tap++)
                for (ptrdiff_t i = count; i < width; i++) packed[tap * step + i] = 0;
        }
    }
}

static void simd_direct_task(void *job, ptrdiff_t index, int slot) {
    const simd_convolution_job *j = job;
    const simd_convolution *s = j->convolution;
    simd_strip strip = simd_direct_strip(j, index, slot);
    strip.weight = j->packed, strip.y = simd_strip_target(j, index, slot);
    if (s->tile != SIMD_DEPTHWISE)
        j->level->direct(&strip);
    else if (s->is_adjoint)
        simd_depthwise_input_gradients(j, &strip, simd_strip_row(j, index));
    else
        simd_depthwise_outputs(j, &strip);
    simd_strip_outputs(j, index, 0, s->filters, strip.y);
}

/* Floats of the packed weights. */
static ptrdiff_t simd_direct_packed(const simd_convolution_job *j) {
    if (j->convolution->tile == SIMD_DEPTHWISE) return simd_area(j->convolution) * j->convolution->channels;
    return simd_padded_filters(j->level, j->convolution) * j->convolution->channels * simd_area(j->convolution);
}

/* Plan a direct convolution; return the bytes of scratch memory, which is divided if there is some. */
static ptrdiff_t simd_direct_plan(simd_convolution_job *j, int threads, uint8_t *scratch) {
    const simd_convolution *s = j->convolution;
    simd_memory memory = {scratch ? simd_at_line(scratch) : NULL, 0};
    simd_direct_strips(j);
    j->tasks = s->n * j->strips;
    j->packed = s->packed ? s->packed : simd_take(&memory, simd_direct_packed(j));
    j->of_slots = simd_take(&memory, threads * j->slot_size);
    return simd_taken(&memory);
}

/* --------------------------------------------------------------------------------- gradients of the weights */

/* The sums of a group of images for a slice of filters. */
static void simd_direct_gradients_task(void *job, ptrdiff_t index, int slot) {
    const simd_convolution_job *j = job;
    const simd_convolution *s = j->convolution;
    const ptrdiff_t group = index / j->slices, slice = index % j->slices, width = 2 * j->level->lanes;
    const ptrdiff_t panels = simd_parts(s->filters, width);
    const ptrdiff_t first = panels * slice / j->slices * width;
    const ptrdiff_t end = simd_least(panels * (slice + 1) / j->slices * width, s->filters);
    const ptrdiff_t taps = simd_filter_channels(s) * simd_area(s);
    float *const dweight = j->dweights + group * (taps + 1) * s->filters, *const dbias = dweight + taps * s->filters;
    for (ptrdiff_t row = 0; row < taps + 1; row++)
        memset(dweight + row * s->filters + first, 0, (size_t)(end - first) * sizeof *dweight);
    const ptrdiff_t stop = s->n * (group + 1) / j->groups * j->strips;
    for (ptrdiff_t i = s->n * group / j->groups * j->strips; i < stop; i++) {
        simd_strip strip = simd_direct_strip(j, i, slot);
        if (simd_phases(s) > 1) {
            /* The rows and columns that this phase has: beyond them pixels may be infinite. */
            const ptrdiff_t phase = simd_strip_image(j, i) % simd_phases(s);
            const ptrdiff_t rows = simd_parts(s->whole_h - phase / s->phases_w, s->phases_h);
            strip.rows = simd_within(rows - simd_strip_row(j, i), strip.rows);
            strip.columns = simd_parts(s->whole_w - phase % s->phases_w, s->phases_w);
        }
        strip.dy = simd_slot_y(j, slot), strip.dweight = dweight, strip.dbias = dbias;
        simd_strip_output_gradients(j, i, strip.rows, strip.columns, slot);
        if (s->tile == SIMD_DEPTHWISE)
            j->level->depthwise_gradients(&strip, first, end);
        else
            j->level->direct_gradients(&strip, first, end);
    }
}

/* Add the groups' sums for some channels, in order, and write them to the weights' gradient. */
static void simd_direct_add_task(void *job, ptrdiff_t index, int slot) {
    const simd_convolution_job *j = job;
    const simd_convolution *s = j->convolution;
    const ptrdiff_t area = simd_area(s), channels = simd_filter_channels(s), step = channels * s->filters;
    const ptrdiff_t size = (channels * area + 1) * s->filters;
    const ptrdiff_t first = index * PACK_CHANNELS, end = simd_least(first + PACK_CHANNELS, channels);
    (void)slot;
    for (ptrdiff_t group = 1; group < j->groups; group++)
        for (ptrdiff_t tap = 0; tap < area; tap++) {
            float *const total = j->dweights + tap * step;
            const float *const sums = total + group * size;
            for (ptrdiff_t i = first * s->filters; i < end * s->filters; i++) total[i] += sums[i];
        }
    for (ptrdiff_t c = first; c < end; c++)
        j->level->transpose(j->dweights + c * s->filters, step, area, s->filters, s->dweight + c * area,
                            channels * area);
}

/* Add the groups' sums of the gradients of the biases, in order. */
static void simd_direct_add_biases(const simd_convolution_job *j) {
    const simd_convolution *s = j->convolution;
    const ptrdiff_t taps = simd_filter_channels(s) * simd_area(s);
    for (ptrdiff_t f = 0; f < s->filters; f++) {
        s->dbias[f] = 0;
        for (ptrdiff_t group = 0; group < j->groups; group++)
            s->dbias[f] += j->dweights[(group * (taps + 1) + taps) * s->filters + f];
    }
}

/* Plan the gradients of a direct convolution's weights and biases, as simd_direct_plan does. */
static ptrdiff_t simd_direct_gradients_plan(simd_convolution_job *j, int threads, uint8_t *scratch) {
    const simd_convolution *s = j->convolution;
    const ptrdiff_t size = (simd_filter_channels(s) * simd_area(s) + 1) * s->filters;
    const ptrdiff_t most = SIMD_GROUPS_BYTES / (size * (ptrdiff_t)sizeof(float));
    simd_memory memory = {scratch ? simd_at_line(scratch) : NULL, 0};
    simd_direct_strips(j);
    j->groups = simd_least(simd_least(SIMD_GROUPS, s->n), most > 1 ? most : 1);
    j->slices = simd_least(simd_parts(s->filters, 2 * j->level->lanes), simd_parts(LEAST_TASKS, j->groups));
    j->tasks = j->groups * j->slices;
    j->dweights = simd_take(&memory, j->groups * size);
    j->of_slots = simd_take(&memory, threads * j->slot_size);
    return simd_taken(&memory);
}
