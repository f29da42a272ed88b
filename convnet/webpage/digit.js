// The preparation of a drawn digit: convnet/digits.py step by step, by the same names without underscores, for grey
// levels (H, W).

const LARGEST_SIDE = 256;
const EVEN = 1e-9;
const NOISE = 4;
const CLEAR = 6;
const EDGE = 0.3;
const SMALL = 64;

/** The image as MNIST's makers would have prepared it, 0 to 255, or null where nothing stands out from the ground. */
function prepare_digit(image, size) {
  const [height, width] = size;
  const ink = cropped({ shape: image.shape, data: Float64Array.from(image.data) });
  return ink && centre(fit(ink, rounded(20 * Math.min(height, width), 28)), height, width);
}

/**
 * The digit's box: how much ink there is at each of its pixels; null where there is none.
 *
 * A large image is looked at in a smaller size, and if the digit is small in that, the part around it once more.
 */
function cropped(grey) {
  const largest = Math.max(...grey.shape);
  const is_large = largest > LARGEST_SIDE;
  const sizes = is_large ? grey.shape.map((side) => Math.max(1, rounded(side * LARGEST_SIDE, largest))) : grey.shape;
  const ink = find_ink(is_large ? resample(grey, ...sizes) : grey);
  if (!ink) return null;
  const box = strong_box(ink);
  const longest = Math.max(...box.map(([start, end]) => end - start));
  if (!is_large || longest >= SMALL) return part(ink, box);
  const around = box.map(([start, end], axis) => {
    const [side, size] = [grey.shape[axis], sizes[axis]];
    return [
      Math.floor((Math.max(start - longest, 0) * side) / size),
      Math.ceil((Math.min(end + longest, size) * side) / size),
    ];
  });
  return cropped(part(grey, around));
}

/** The rows and the columns, as [start, end], between which all strong ink lies. */
function strong_box({ shape: [h, w], data }) {
  let [top, bottom, left, right] = [Infinity, 0, Infinity, 0];
  for (let i = 0; i < h; i++) {
    for (let j = 0; j < w; j++) {
      if (data[i * w + j] < EDGE) continue;
      [top, bottom] = [Math.min(top, i), i];
      [left, right] = [Math.min(left, j), Math.max(right, j)];
    }
  }
  return [[top, bottom + 1], [left, right + 1]];
}

/** The part of an image within rows and columns. */
function part({ shape, data }, [[top, bottom], [left, right]]) {
  const [h, w] = [bottom - top, right - left];
  const inside = (_, i) => data[(top + Math.floor(i / w)) * shape[1] + left + (i % w)];
  return { shape: [h, w], data: Float64Array.from({ length: h * w }, inside) };
}

/** An image in another size, each pixel the average of what it covers, or interpolated between two. */
function resample(image, height, width) {
  const [h, w] = image.shape;
  const across = resample_rows(image.data, h, w, weights(w, width));
  // The same along the other axis, of the transposed image.
  const turned = resample_rows(transpose(across, h, width), width, h, weights(h, height));
  return { shape: [height, width], data: transpose(turned, width, height) };
}

/** Each row (w) of an image multiplied by the filters. */
function resample_rows(data, h, w, filters) {
  const scaled = new Float64Array(h * filters.length);
  for (let i = 0; i < h; i++) {
    filters.forEach(({ first, values }, j) => {
      let sum = 0;
      for (let k = 0; k < values.length; k++) sum += values[k] * data[i * w + first + k];
      scaled[i * filters.length + j] = sum;
    });
  }
  return scaled;
}

function transpose(data, h, w) {
  const turned = new Float64Array(data.length);
  for (let i = 0; i < h; i++) for (let j = 0; j < w; j++) turned[j * h + i] = data[i * w + j];
  return turned;
}

/** A triangle filter for each new pixel: the first of the old ones that it covers, and the weights of these. */
function weights(old, size) {
  const step = old / size;
  return Array.from({ length: size }, (_, i) => {
    const middle = (i + 0.5) * step;
    const weight = (_, k) => Math.max(1 - Math.abs(k + 0.5 - middle) / Math.max(step, 1), 0);
    const all = Float64Array.from({ length: old }, weight);
    const first = all.findIndex((value) => value > 0);
    const values = all.subarray(first, all.findLastIndex((value) => value > 0) + 1);
    const sum = values.reduce((total, value) => total + value, 0);
    return { first, values: values.map((value) => value / sum) };
  });
}

/** How much ink there is at each pixel, from 0, the ground, to 1; null where there is none. */
function find_ink({ shape, data }) {
  const [least, most] = extremes(data);
  if (most - least <= EVEN * Math.max(Math.abs(least), Math.abs(most))) return null;
  const grey = data.map((value) => (value - least) / (most - least));
  level(grey, ink_mask(grey, shape), shape);
  const [low, high] = extremes(grey);
  if (high - low < 1e-6) return null;
  const mask = ink_mask(grey, shape);
  const inside = part_of(grey, mask, 1);
  const outside = part_of(grey, mask, 0);
  const sign = mean(inside) < mean(outside) ? -1 : 1;
  const ground = median(outside);
  const full = quantile(inside, sign < 0 ? 0.1 : 0.9);
  const spread = 1.4826 * median(outside.map((value) => Math.abs(value - ground)));
  if (sign * (full - ground) < CLEAR * spread) return null;
  const floor = Math.min(NOISE * spread, (sign * (full - ground)) / 2);
  const range = sign * (full - ground) - floor;
  return { shape, data: grey.map((value) => Math.min(Math.max((sign * (value - ground) - floor) / range, 0), 1)) };
}

/** The values where the mask is 1, or those where it is 0. */
function part_of(data, mask, wanted) {
  const part = new Float64Array(data.length);
  let count = 0;
  for (let i = 0; i < data.length; i++) if (mask[i] === wanted) part[count++] = data[i];
  return part.subarray(0, count);
}

function mean(values) {
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}

function extremes(data) {
  let [least, most] = [Infinity, -Infinity];
  for (const value of data) {
    if (value < least) least = value;
    if (value > most) most = value;
  }
  return [least, most];
}

/** The quantile of values, interpolated; it changes their order. */
function quantile(values, q) {
  const position = q * (values.length - 1);
  const below = Math.floor(position);
  const low = select(values, below);
  const high = below + 1 < values.length ? extremes(values.subarray(below + 1))[0] : low;
  return low + (position - below) * (high - low);
}

/** What sorting would put at a place; those before it are not larger then, and those behind it not smaller. */
function select(values, place) {
  let [first, last] = [0, values.length - 1];
  while (first < last) {
    const pivot = values[(first + last) >> 1];
    let [i, j] = [first, last];
    while (i <= j) {
      while (values[i] < pivot) i++;
      while (values[j] > pivot) j--;
      if (i > j) break;
      const value = values[i];
      values[i++] = values[j];
      values[j--] = value;
    }
    if (place <= j) last = j;
    else if (place >= i) first = i;
    else break;
  }
  return values[place];
}

const median = (values) => quantile(values, 0.5);

/** Which pixels are ink: of the two sides of Otsu's threshold that which has less of the border. */
function ink_mask(grey, [h, w]) {
  const [least, most] = extremes(grey);
  const levels = new Uint8Array(grey.length);
  const counts = new Float64Array(256);
  for (let i = 0; i < grey.length; i++) {
    levels[i] = Math.floor(((grey[i] - least) / (most - least)) * 255 + 0.5);
    counts[levels[i]]++;
  }
  const threshold = otsu_threshold(counts);
  const light = levels.map((value) => (value > threshold ? 1 : 0));
  let lit = 0;
  for (let j = 0; j < w; j++) lit += light[j] + light[(h - 1) * w + j];
  for (let i = 1; i < h - 1; i++) lit += light[i * w] + light[i * w + w - 1];
  return lit > w + Math.max(h - 2, 0) ? light.map((value) => 1 - value) : light;
}

/** The level at which the two parts of a histogram differ most: n0 * n1 * (mean0 - mean1)**2. */
function otsu_threshold(counts) {
  const all = counts.reduce((a, b) => a + b);
  const total = counts.reduce((sum, count, i) => sum + count * i, 0);
  let [below, sum, best, most] = [0, 0, 0, -1];
  for (let i = 0; i < 255; i++) {
    below += counts[i];
    sum += counts[i] * i;
    const above = all - below;
    const between = ((total - sum) * below - sum * above) ** 2 / Math.max(below * above, 1);
    if (between > most) [best, most] = [i, between];
  }
  return best;
}

/** Subtract from the image the plane that fits its ground best: light that falls from one side is evened out. */
function level(grey, mask, [h, w]) {
  let [count, y_sum, x_sum] = [0, 0, 0];
  for (let i = 0; i < h; i++) {
    for (let j = 0; j < w; j++) {
      if (mask[i * w + j]) continue;
      count += 1;
      y_sum += i;
      x_sum += j;
    }
  }
  const [y_mean, x_mean] = [y_sum / count, x_sum / count];
  let [yy, xx, xy, yg, xg] = [0, 0, 0, 0, 0];
  for (let i = 0; i < h; i++) {
    for (let j = 0; j < w; j++) {
      if (mask[i * w + j]) continue;
      const [y, x] = [i - y_mean, j - x_mean];
      yy += y * y;
      xx += x * x;
      xy += x * y;
      yg += y * grey[i * w + j];
      xg += x * grey[i * w + j];
    }
  }
  const determinant = yy * xx - xy * xy;
  if (determinant <= 1e-9 * yy * xx) return; // the ground is a line
  const y_slope = (xx * yg - xy * xg) / determinant;
  const x_slope = (yy * xg - xy * yg) / determinant;
  for (let i = 0; i < h; i++) {
    for (let j = 0; j < w; j++) grey[i * w + j] -= y_slope * (i - y_mean) + x_slope * (j - x_mean);
  }
}

/** The ink scaled to fit a box of so many pixels, its strongest part 1. */
function fit(ink, box) {
  const longest = Math.max(...ink.shape);
  const scaled = resample(ink, ...ink.shape.map((side) => Math.max(1, rounded(side * box, longest))));
  const [, most] = extremes(scaled.data);
  return { shape: scaled.shape, data: scaled.data.map((value) => value / most) };
}

/** Ink in a field of its own, its centre of mass at the field's centre, to a pixel. */
function centre({ shape, data }, height, width) {
  const [h, w] = shape;
  let [mass, y_sum, x_sum] = [0, 0, 0];
  data.forEach((value, i) => {
    mass += value;
    y_sum += value * Math.floor(i / w);
    x_sum += value * (i % w);
  });
  const corner = (sum, side, size) =>
    Math.min(Math.max(Math.floor(size / 2 - sum / mass + 0.5 - 1e-6), 0), size - side);
  const [top, left] = [corner(y_sum, h, height), corner(x_sum, w, width)];
  const field = new Uint8Array(height * width);
  data.forEach((value, i) => {
    field[(top + Math.floor(i / w)) * width + left + (i % w)] = Math.floor(255 * value + 0.5);
  });
  return { shape: [height, width], data: field };
}

/** A quotient rounded to an integer, halves upward. */
function rounded(numerator, denominator) {
  return Math.floor((2 * numerator + denominator) / (2 * denominator));
}
