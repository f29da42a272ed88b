/* The gradients of a convolution's weights behind max pooling, on the threads of the pool. A task sums those of a group
 * of images for some filters; the groups are added in order.
 */

/* Floats of a row of a patch, of whole vectors. */
static ptrdiff_t simd_patch_step(const simd_convolution_job *j) {
    return simd_parts(j->convolution->kernel_w * j->convolution->channels, j->level->lanes) * j->level->lanes;
}

static void simd_pooled_task(void *job, ptrdiff_t index, int slot) {
    const simd_convolution_job *j = job;
    const simd_convolution *s = j->convolution;
    const simd_outputs *o = &s->outputs;
    const ptrdiff_t group = index / j->slices, slice = index % j->slices, height = o->height / 2, width = o->width / 2;
    const ptrdiff_t f0 = s->filters * slice / j->slices, f1 = s->filters * (slice + 1) / j->slices;
    const ptrdiff_t step = simd_patch_step(j), size = s->kernel_h * step;
    float *const dweight = j->dweights + group * s->filters * (size + 1), *const dbias = dweight + s->filters * size;
    memset(dweight + f0 * size, 0, (size_t)((f1 - f0) * size) * sizeof *dweight);
    memset(dbias + f0, 0, (size_t)(f1 - f0) * sizeof *dbias);
    const ptrdiff_t stop = s->n * (group + 1) / j->groups * j->strips;
    for (ptrdiff_t i = s->n * group / j->groups * j->strips; i < stop; i++) {
        const ptrdiff_t n = simd_strip_image(j, i), row = simd_strip_row(j, i) / 2;
        const ptrdiff_t rows = simd_least(j->rows / 2, height - row), at = (n * height + row) * width * s->filters;
        simd_strip strip = {
            .channels = s->channels, .kernel_h = s->kernel_h, .kernel_w = s->kernel_w, .rows = rows, .columns = width,
            .x = simd_slot_x(j, slot), .x_step = j->x_columns * s->channels, .dy = o->dy + at, .codes = o->codes + at,
            .dweight = dweight, .dbias = dbias};
        simd_strip_inputs(j, i, slot);
        if (!o->channels_last) {
            strip.dy = simd_slot_y(j, slot);
            j->level->transpose(o->dy + n * s->filters * height * width + row * width, height * width, s->filters,
                                rows * width, simd_slot_y(j, slot), s->filters);
        }
        j->level->pooled_gradients(&strip, o, f0, f1, step, simd_slot_rest(j, slot));
    }
}

/* Add the groups' sums for some filters, in order, and write them to the gradients. */
static void simd_pooled_add_task(void *job, ptrdiff_t index, int slot) {
    const simd_convolution_job *j = job;
    const simd_convolution *s = j->convolution;
    const ptrdiff_t step = simd_patch_step(j), size = s->kernel_h * step, group_size = s->filters * (size + 1);
    (void)slot;
    for (ptrdiff_t f = index * PACK_CHANNELS; f < simd_least((index + 1) * PACK_CHANNELS, s->filters); f++) {
        float *const total = j->dweights + f * size, *const dbias = j->dweights + s->filters * size + f;
        for (ptrdiff_t group = 1; group < j->groups; group++) {
            for (ptrdiff_t i = 0; i < size; i++) total[i] += total[group * group_size + i];
            *dbias += dbias[group * group_size];
        }
        s->dbias[f] = *dbias;
        for (ptrdiff_t i = 0; i < s->kernel_h; i++)
            j->level->transpose(total + i * step, s->channels, s->kernel_w, s->channels,
                                s->dweight + (f * s->channels * s->kernel_h + i) * s->kernel_w, simd_area(s));
    }
}

static ptrdiff_t simd_pooled_plan(simd_convolution_job *j, int threads, uint8_t *scratch) {
    const simd_convolution *s = j->convolution;
    const ptrdiff_t height = s->outputs.height / 2, width = s->outputs.width / 2;
    simd_memory memory = {scratch ? simd_at_line(scratch) : NULL, 0};
    j->x_columns = 2 * width + s->kernel_w - 1;
    const ptrdiff_t of_rows = STRIP_SIZE / (2 * j->x_columns * s->channels);
    const ptrdiff_t most = simd_within(simd_least(of_rows, POOLED_WINDOWS / width) - 1, height - 1) + 1;
    j->strips = simd_parts(height, most), j->rows = 2 * simd_parts(height, j->strips);
    j->strips = simd_parts(2 * height, j->rows);
    j->x_rows = j->rows + s->kernel_h - 1;
    const ptrdiff_t size = s->filters * (s->kernel_h * simd_patch_step(j) + 1);
    const ptrdiff_t groups = SIMD_GROUPS_BYTES / (size * (ptrdiff_t)sizeof(float));
    j->groups = simd_least(simd_least(SIMD_GROUPS, s->n), groups > 1 ? groups : 1);
    j->slices = simd_least(simd_parts(s->filters, POOLED_FILTERS), simd_parts(LEAST_TASKS, j->groups));
    j->tasks = j->groups * j->slices;
    j->x_size = simd_in_lines(j->x_rows * j->x_columns * s->channels + SIMD_LINE);  /* a vector is read behind it */
    j->y_size = s->outputs.channels_last ? 0 : simd_in_lines(j->rows / 2 * width * s->filters);
    j->slot_size = j->x_size + j->y_size + 4 * POOLED_WINDOWS * POOLED_FILTERS;
    j->dweights = simd_take(&memory, j->groups * size);
    j->of_slots = simd_take(&memory, threads * j->slot_size);
    return simd_taken(&memory);
}
