/* Winograd's algorithm on the threads of the pool.
 *
 * Forward, a task takes strips of one row of tiles each, of neighbouring images where these are small, so many that the
 * products have enough rows; its transformed tiles stay in the second-level cache.
 *
 * The gradient of the weights is summed by groups of strips, and the groups are added in order. A group's strips are
 * transformed a chunk at a time, and the products with a chunk are added up for each position. Where the groups divide
 * evenly among the threads, each thread has groups of its own: what one core writes, another one may read slowly.
 * Otherwise, and where the sums are so large that there is a single group, the threads share the work within a group:
 * first its strips, then positions and channels. Each sum is formed in the same order either way.
 */

/* Tiles whose products a task makes at a time, about, and at least: four register tiles of AVX-512, and one. */
#define WINOGRAD_TILES 48
#define WINOGRAD_LEAST 12
/* Channels whose products take so much longer than their transforms that tasks for other filters may repeat these. */
#define WINOGRAD_MANY 128
/* Floats of transformed inputs and gradients of a chunk, about, and channels of a task. */
#define WINOGRAD_CHUNK (1 << 19)
#define WINOGRAD_CHANNELS 96
/* Groups, and bytes of their sums, at most; and tiles of each one, at least. */
#define WINOGRAD_GROUPS 4
#define WINOGRAD_GROUPS_BYTES (5 << 20)
#define WINOGRAD_GROUP_TILES 32

static const simd_winograd_functions *simd_winograd_of(const simd_convolution_job *j) {
    return j->level->winograd[j->convolution->tile == 4];
}

static ptrdiff_t simd_positions(const simd_convolution_job *j) {
    return (j->convolution->tile + 2) * (j->convolution->tile + 2);
}

/* Floats from one tile's channels to the next: whole vectors, and not so many that tiles compete for the same sets of a
 * cache.
 */
static ptrdiff_t simd_winograd_step(ptrdiff_t channels) {
    const ptrdiff_t step = simd_parts(channels, SIMD_LINE) * SIMD_LINE;
    return step % 256 == 0 ? step + SIMD_LINE : step;
}

static void simd_winograd_strips(simd_convolution_job *j) {
    const simd_convolution *s = j->convolution;
    j->rows = s->tile, j->strips = simd_parts(s->out_h, s->tile), j->tiles = simd_parts(s->out_w, s->tile);
    j->x_rows = s->tile + 2, j->x_columns = j->tiles * s->tile + 2;
    /* A vector is read behind the strip; and weights are packed and unpacked there. */
    const ptrdiff_t taps = 9 * simd_padded_filters(j->level, s);
    j->x_size = simd_in_lines(j->x_rows * j->x_columns * s->channels + SIMD_LINE);
    if (j->x_size < taps) j->x_size = simd_in_lines(taps);
    j->winograd = (simd_winograd){.channels = s->channels, .filters = s->filters,
                                  .v_step = simd_winograd_step(s->channels), .m_step = simd_winograd_step(s->filters)};
}

/* Give each position room for so many tiles, and a vector that is read behind them. An odd number of cache lines from
 * one position to the next puts a tile's positions into different sets of a cache.
 */
static void simd_winograd_positions(simd_convolution_job *j, ptrdiff_t tiles) {
    simd_winograd *const w = &j->winograd;
    w->v_position = (simd_parts(tiles * w->v_step, SIMD_LINE) | 1) * SIMD_LINE;
    w->m_position = (simd_parts(tiles * w->m_step, SIMD_LINE) | 1) * SIMD_LINE;
    j->v_size = simd_positions(j) * w->v_position + SIMD_LINE;
    j->m_size = simd_positions(j) * w->m_position + SIMD_LINE;
}

/* ----------------------------------------------------------------------------------------------------- forward */

/* Transform the weights of some channels. */
static void simd_winograd_pack_task(void *job, ptrdiff_t index, int slot) {
    const simd_convolution_job *j = job;
    const simd_convolution *s = j->convolution;
    const ptrdiff_t filters = simd_padded_filters(j->level, s);
    float *const taps = simd_slot_x(j, slot);
    memset(taps, 0, (size_t)(9 * filters) * sizeof *taps);
    for (ptrdiff_t c = index * PACK_CHANNELS; c < simd_least((index + 1) * PACK_CHANNELS, s->channels); c++) {
        if (s->is_adjoint)
            j->level->transpose(s->weight + c * s->filters * 9, 9, s->filters, 9, taps + 8 * filters, -filters);
        else
            j->level->transpose(s->weight + c * 9, s->channels * 9, s->filters, 9, taps, filters);
        simd_winograd_of(j)->weights(taps, filters, filters, s->channels, j->packed + c * 2 * j->level->lanes);
    }
}

static void simd_winograd_task(void *job, ptrdiff_t index, int slot) {
    const simd_convolution_job *j = job;
    const simd_convolution *s = j->convolution;
    const simd_winograd *w = &j->winograd;
    const ptrdiff_t first = index / j->slices * j->group, end = simd_least(first + j->group, s->n * j->strips);
    const ptrdiff_t filters = simd_padded_filters(j->level, s), width = 2 * j->level->lanes;
    const ptrdiff_t f0 = filters / width * (index % j->slices) / j->slices * width;
    const ptrdiff_t f1 = simd_least(filters / width * (index % j->slices + 1) / j->slices * width, s->filters);
    float *const x = simd_slot_x(j, slot), *const v = simd_slot_rest(j, slot);
    float *const m = v + j->v_size;
    for (ptrdiff_t strip = first; strip < end; strip++) {
        simd_strip_inputs(j, strip, slot);
        simd_winograd_of(j)->inputs(w, x, j->x_columns * s->channels, j->tiles,
                                    v + (strip - first) * j->tiles * w->v_step);
    }
    for (ptrdiff_t position = 0; position < simd_positions(j); position++) {
        const simd_product product = {
            .m = (end - first) * j->tiles, .n = s->filters, .k = s->channels, .a = v + position * w->v_position,
            .a_step = w->v_step, .b = j->packed + position * s->channels * filters, .b_is_packed = 1,
            .c = m + position * w->m_position, .c_step = w->m_step, .alpha = 1, .beta = 0};
        j->level->product_block(&product, 0, product.m, f0, f1);
    }
    for (ptrdiff_t strip = first; strip < end; strip++) {
        float *const y = simd_strip_target(j, strip, slot);
        simd_winograd_of(j)->outputs(w, m + (strip - first) * j->tiles * w->m_step, f0, f1, simd_strip_rows(j, strip),
                                     s->out_w, y, s->out_w * s->filters);
        simd_strip_outputs(j, strip, f0, f1, y);
    }
}

/* Floats of the transformed weights. */
static ptrdiff_t simd_winograd_packed(const simd_convolution_job *j) {
    return simd_positions(j) * j->convolution->channels * simd_padded_filters(j->level, j->convolution);
}

/* Plan a convolution by Winograd's algorithm, as simd_direct_plan plans a direct one. */
static ptrdiff_t simd_winograd_plan(simd_convolution_job *j, int threads, uint8_t *scratch) {
    const simd_convolution *s = j->convolution;
    simd_memory memory = {scratch ? simd_at_line(scratch) : NULL, 0};
    simd_winograd_strips(j);
    /* As many strips as make enough tiles, but so few that there are tasks for several threads. */
    const ptrdiff_t strips = s->n * j->strips, least = simd_parts(WINOGRAD_LEAST, j->tiles);
    j->group = simd_least(WINOGRAD_TILES / j->tiles, simd_parts(strips, LEAST_TASKS));
    if (j->group < least) j->group = least;
    j->group = simd_parts(strips, simd_parts(strips, j->group));
    j->tasks = simd_parts(strips, j->group);
    const ptrdiff_t panels = simd_padded_filters(j->level, s) / (2 * j->level->lanes);
    j->slices = s->channels < WINOGRAD_MANY ? 1 : simd_least(simd_parts(LEAST_TASKS, j->tasks), panels);
    j->tasks *= j->slices;
    simd_winograd_positions(j, j->group * j->tiles);
    j->y_size = simd_in_lines(j->rows * s->out_w * s->filters), j->row_size = simd_row_size(&s->outputs);
    j->slot_size = j->x_size + j->y_size + j->row_size + j->v_size + j->m_size;
    j->packed = s->packed ? s->packed : simd_take(&memory, simd_winograd_packed(j));
    j->of_slots = simd_take(&memory, threads * j->slot_size);
    return simd_taken(&memory);
}

/* --------------------------------------------------------------------------------- gradients of the weights */

/* Transform one of the strips in hand, and the gradients of its outputs. */
static void simd_winograd_transform_task(void *job, ptrdiff_t index, int slot) {
    const simd_convolution_job *j = job;
    const simd_convolution *s = j->convolution;
    const simd_winograd *w = &j->winograd;
    const ptrdiff_t strip = j->chunk + index, tile = index * j->tiles;
    simd_strip_inputs(j, strip, slot);
    simd_winograd_of(j)->inputs(w, simd_slot_x(j, slot), j->x_columns * s->channels, j->tiles,
                                j->v + tile * w->v_step);
    simd_strip_output_gradients(j, strip, s->tile, j->tiles * s->tile, slot);
    simd_winograd_of(j)->output_gradients(w, simd_slot_y(j, slot), j->tiles * s->tile * s->filters, j->tiles,
                                          j->m + tile * w->m_step);
}

/* Add the products of the strips in hand at one position for some channels. */
static void simd_winograd_sum_task(void *job, ptrdiff_t index, int slot) {
    const simd_convolution_job *j = job;
    const simd_convolution *s = j->convolution;
    const simd_winograd *w = &j->winograd;
    const ptrdiff_t position = index / j->slices, slice = index % j->slices;
    const simd_product product = {
        .m = s->channels, .n = s->filters, .k = j->chunk_strips * j->tiles, .a = j->v + position * w->v_position,
        .a_step = w->v_step, .a_is_transposed = 1, .b = j->m + position * w->m_position, .b_step = w->m_step,
        .c = j->dweights + position * s->channels * s->filters, .c_step = s->filters, .alpha = 1,
        .beta = j->chunk == j->start ? 0 : 1};
    float *const dbias = j->dweights + simd_positions(j) * s->channels * s->filters;
    float *const of_strip = dbias + s->filters;
    (void)slot;
    j->level->product_block(&product, s->channels * slice / j->slices, s->channels * (slice + 1) / j->slices, 0,
                            s->filters);
    /* At the point 1 of both axes a tile's transform is the sum of its outputs' gradients. Each strip is summed apart,
     * so that few rounding errors add up.
     */
    if (position != s->tile + 3 || slice) return;
    if (j->chunk == j->start) memset(dbias, 0, (size_t)s->filters * sizeof *dbias);
    for (ptrdiff_t strip = 0; strip < j->chunk_strips; strip++) {
        const float *const tiles = product.b + strip * j->tiles * w->m_step;
        for (ptrdiff_t f = 0; f < s->filters; f++) of_strip[f] = tiles[f];
        for (ptrdiff_t tile = 1; tile < j->tiles; tile++)
            for (ptrdiff_t f = 0; f < s->filters; f++) of_strip[f] += tiles[tile * w->m_step + f];
        for (ptrdiff_t f = 0; f < s->filters; f++) dbias[f] += of_strip[f];
    }
}

/* Floats of a group's sums: of the products, of the biases, and of a strip's biases. A vector is read behind them. */
static ptrdiff_t simd_winograd_sums(const simd_convolution_job *j) {
    const simd_convolution *s = j->convolution;
    return simd_in_lines((simd_positions(j) * s->channels + 2) * s->filters + SIMD_LINE);
}

/* Whether there are so few tiles that they make one group, and sums that are not large either. */
static int simd_winograd_is_small(const simd_convolution_job *j) {
    const ptrdiff_t tiles = j->convolution->n * j->strips * j->tiles;
    const ptrdiff_t size = simd_winograd_sums(j) * (ptrdiff_t)sizeof(float);
    return tiles < 2 * WINOGRAD_GROUP_TILES && 2 * size <= WINOGRAD_GROUPS_BYTES;
}

/* Form a group's sums, on so many threads; the memory is that of the slot. */
static void simd_winograd_group(const simd_convolution_job *all, ptrdiff_t group, int slot, int threads) {
    simd_convolution_job j = *all;
    const ptrdiff_t strips = j.convolution->n * j.strips, end = strips * (group + 1) / j.groups;
    j.dweights += group * simd_winograd_sums(&j);
    j.v += slot * j.v_size, j.m += slot * j.m_size, j.of_slots += slot * j.slot_size;
    j.start = strips * group / j.groups;
    for (j.chunk = j.start; j.chunk < end; j.chunk += j.group) {
        j.chunk_strips = simd_least(j.group, end - j.chunk);
        pool_run(simd_winograd_transform_task, &j, j.chunk_strips, threads);
        pool_run(simd_winograd_sum_task, &j, simd_positions(&j) * j.slices, threads);
    }
}

static void simd_winograd_group_task(void *job, ptrdiff_t index, int slot) { simd_winograd_group(job, index, slot, 1); }

/* Add the groups' sums for some channels, in order, and transform them to the weights' gradient; or add the biases'. */
static void simd_winograd_unpack_task(void *job, ptrdiff_t index, int slot) {
    const simd_convolution_job *j = job;
    const simd_convolution *s = j->convolution;
    const ptrdiff_t filters = simd_padded_filters(j->level, s);
    const ptrdiff_t first = index * PACK_CHANNELS, end = simd_least(first + PACK_CHANNELS, s->channels);
    const ptrdiff_t position_size = s->channels * s->filters, biases = simd_positions(j) * position_size;
    float *const taps = simd_slot_x(j, slot);
    for (ptrdiff_t group = 1; group < j->groups; group++) {
        const float *const sums = j->dweights + group * simd_winograd_sums(j);
        for (ptrdiff_t position = 0; position < simd_positions(j); position++)
            for (ptrdiff_t i = first * s->filters; i < end * s->filters; i++)
                j->dweights[position * position_size + i] += sums[position * position_size + i];
    }
    if (!index) {
        memset(s->dbias, 0, (size_t)s->filters * sizeof *s->dbias);
        for (ptrdiff_t group = 0; group < j->groups; group++)
            for (ptrdiff_t f = 0; f < s->filters; f++)
                s->dbias[f] += j->dweights[group * simd_winograd_sums(j) + biases + f];
    }
    for (ptrdiff_t c = first; c < end; c++) {
        simd_winograd_of(j)->weight_gradients(j->dweights + c * s->filters, s->channels * s->filters, s->filters, taps,
                                              filters);
        j->level->transpose(taps, filters, 9, s->filters, s->dweight + c * 9, s->channels * 9);
    }
}

/* Plan the gradients of its weights and biases. */
static ptrdiff_t simd_winograd_gradients_plan(simd_convolution_job *j, int threads, uint8_t *scratch) {
    const simd_convolution *s = j->convolution;
    simd_memory memory = {scratch ? simd_at_line(scratch) : NULL, 0};
    simd_winograd_strips(j);
    const ptrdiff_t strips = s->n * j->strips, sums = simd_winograd_sums(j);
    const ptrdiff_t most = simd_least(WINOGRAD_GROUPS, WINOGRAD_GROUPS_BYTES / (sums * (ptrdiff_t)sizeof(float)));
    const ptrdiff_t enough = simd_least(strips, strips * j->tiles / WINOGRAD_GROUP_TILES);
    j->groups = simd_within(enough - 1, most > 1 ? most - 1 : 0) + 1;
    const ptrdiff_t of_group = simd_parts(strips, j->groups);
    const ptrdiff_t of_strip = simd_positions(j) * j->tiles * (s->channels + s->filters);
    j->group = simd_within(WINOGRAD_CHUNK / of_strip - 1, of_group - 1) + 1;
    while (j->group * j->tiles < WINOGRAD_TILES && j->group < of_group) j->group++;
    j->group = simd_parts(of_group, simd_parts(of_group, j->group));
    simd_winograd_positions(j, j->group * j->tiles);
    j->slices = simd_parts(s->channels, WINOGRAD_CHANNELS);
    j->y_size = simd_in_lines(s->tile * j->tiles * s->tile * s->filters + SIMD_LINE);
    j->row_size = simd_row_size(&s->outputs);
    j->slot_size = j->x_size + j->y_size + j->row_size;
    const ptrdiff_t copies = simd_least(j->groups, threads);
    j->dweights = simd_take(&memory, j->groups * sums);
    j->v = simd_take(&memory, copies * j->v_size);
    j->m = simd_take(&memory, copies * j->m_size);
    j->of_slots = simd_take(&memory, threads * j->slot_size);
    return simd_taken(&memory);
}
