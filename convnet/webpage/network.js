// The forward pass of a network: what convnet/layers and convnet/datasets/preprocessing.py compute, by the same names,
// for one example at a time. An array is {shape, data}, its data in C order.

/** A new array of zeros. */
function zeros(shape) {
  return { shape, data: new Float64Array(shape.reduce((product, size) => product * size, 1)) };
}

/** Padding as [[top, bottom], [left, right]]; that of a layer is [height, width] where the two sides are the same. */
function sides_of(padding) {
  return padding.map((side) => (Array.isArray(side) ? side : [side, side]));
}

/** Sizes of the output of a convolution or pooling: floor((size + before + after - kernel) / stride) + 1. */
function output_size(size, kernel, stride, padding, ceil_mode = false) {
  return sides_of(padding).map(([before, after], axis) => {
    const steps = (size[axis] + before + after - kernel[axis]) / stride[axis];
    if (!ceil_mode) return Math.floor(steps) + 1;
    const is_behind = Math.ceil(steps) * stride[axis] >= size[axis] + before; // the last window holds no pixel
    return Math.ceil(steps) + (is_behind ? 0 : 1);
  });
}

/** Height and width of what a kernel sees: from its first to its last row and column. */
function extent_of(layer) {
  if (layer.class !== "Conv2D") return layer.kernel_size;
  const dilation = layer.dilation ?? [1, 1];
  return [0, 1].map((axis) => (layer.weight.shape[2 + axis] - 1) * dilation[axis] + 1);
}

/** The windows along an axis: from where to where they lie in the image, and how many positions in it and its padding. */
function windows_along(count, size, kernel, stride, [before, after]) {
  return Array.from({ length: count }, (_, i) => {
    const start = i * stride - before;
    const end = start + kernel;
    return [Math.max(start, 0), Math.min(end, size), Math.min(end, size + after) - start];
  });
}

/** y[f, i, j] = bias[f] + sum over c, k, l of weight[f, c, k, l] * x[c, i * stride + k * dilation - padding, ...]. */
function conv2d_forward(x, layer) {
  const { weight, bias, stride, padding, dilation = [1, 1], groups = 1 } = layer;
  const [, h, w] = x.shape;
  const [f, c, kh, kw] = weight.shape;
  const [oh, ow] = output_size([h, w], extent_of(layer), stride, padding);
  const [[top], [left]] = sides_of(padding);
  const y = zeros([f, oh, ow]);
  for (let filter = 0; filter < f; filter++) {
    const plane = y.data.subarray(filter * oh * ow, (filter + 1) * oh * ow);
    if (bias) plane.fill(bias.data[filter]);
    const first_channel = Math.floor(filter / (f / groups)) * c;
    for (let channel = 0; channel < c; channel++) {
      for (let k = 0; k < kh; k++) {
        for (let l = 0; l < kw; l++) {
          const factor = weight.data[((filter * c + channel) * kh + k) * kw + l];
          for (let i = 0; i < oh; i++) {
            const row = i * stride[0] + k * dilation[0] - top;
            if (row < 0 || row >= h) continue;
            const column = l * dilation[1] - left; // of the first window
            const start = ((first_channel + channel) * h + row) * w + column;
            const first = Math.max(0, Math.ceil(-column / stride[1]));
            const end = Math.min(ow, Math.floor((w - 1 - column) / stride[1]) + 1);
            for (let j = first; j < end; j++) plane[i * ow + j] += factor * x.data[start + j * stride[1]];
          }
        }
      }
    }
  }
  return y;
}

/** y = x @ weight + bias. */
function affine_forward(x, weight, bias) {
  const [d, m] = weight.shape;
  const sums = Float64Array.from(bias.data);
  for (let i = 0; i < d; i++) {
    const factor = x.data[i];
    if (factor === 0) continue; // after a ReLU, about half of them
    const row = i * m;
    for (let j = 0; j < m; j++) sums[j] += factor * weight.data[row + j];
  }
  return { shape: [m], data: sums };
}

/** y = max(x, 0). */
function relu_forward(x) {
  return { shape: x.shape, data: x.data.map((value) => (value < 0 ? 0 : value)) };
}

/** y = x where x is above 0, else slope * x. */
function leaky_relu_forward(x, slope) {
  return { shape: x.shape, data: x.data.map((value) => (value <= 0 ? slope * value : value)) };
}

/** y = 1 / (1 + exp(-x)). */
function sigmoid_forward(x) {
  return { shape: x.shape, data: x.data.map((value) => 1 / (1 + Math.exp(-value))) };
}

/** y = tanh(x). */
function tanh_forward(x) {
  return { shape: x.shape, data: x.data.map(Math.tanh) };
}

/** y = weight * (x - mean) / sqrt(variance + epsilon) + bias, channel by channel. */
function batch_norm2d_forward(x, weight, bias, mean, variance, epsilon) {
  const pixels = x.data.length / x.shape[0];
  return {
    shape: x.shape,
    data: x.data.map((value, i) => {
      const c = Math.floor(i / pixels);
      return (weight.data[c] * (value - mean.data[c])) / Math.sqrt(variance.data[c] + epsilon) + bias.data[c];
    }),
  };
}

/** y = x / (1 + exp(-x)). */
function silu_forward(x) {
  return { shape: x.shape, data: x.data.map((value) => value / (1 + Math.exp(-value))) };
}

/** y = x times the probability that a standard normal number is below x, or, approximately, times a sigmoid. */
function gelu_forward(x, approximate) {
  const factor = 2 * Math.sqrt(2 / Math.PI);
  const sigmoid = (value) => 1 / (1 + Math.exp(-factor * (value + 0.044715 * value ** 3)));
  const gate = approximate ? sigmoid : normal_distribution;
  return { shape: x.shape, data: x.data.map((value) => value * gate(value)) };
}

/** The probability that a standard normal number is below x: 1/2 + density * (x + x^3 / 3 + x^5 / (3 * 5) + ...). */
function normal_distribution(x) {
  if (!(Math.abs(x) <= 9)) return x > 0 ? 1 : x < 0 ? 0 : NaN; // within 1e-18
  let sum = 0;
  for (let term = x, odd = 3; sum + term !== sum; odd += 2) {
    sum += term;
    term *= (x * x) / odd;
  }
  return 0.5 + (sum * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);
}

/** Calls of `pool(image, width, rows, columns)`, which gives the value of a window, for every output. */
function pool2d_forward(x, layer, pool) {
  const { kernel_size, stride, padding, ceil_mode } = layer;
  const [c, h, w] = x.shape;
  const sides = sides_of(padding);
  const outputs = output_size([h, w], kernel_size, stride, padding, ceil_mode);
  const [all_rows, all_columns] = [h, w].map((size, axis) =>
    windows_along(outputs[axis], size, kernel_size[axis], stride[axis], sides[axis]),
  );
  const y = zeros([c, ...outputs]);
  let position = 0;
  for (let channel = 0; channel < c; channel++) {
    const image = x.data.subarray(channel * h * w, (channel + 1) * h * w);
    for (const rows of all_rows) {
      for (const columns of all_columns) y.data[position++] = pool(image, w, rows, columns);
    }
  }
  return y;
}

/** The largest of each window; what lies outside of the image does not count. */
function max_pool2d_forward(x, layer) {
  return pool2d_forward(x, layer, (image, width, rows, columns) => {
    let largest = -Infinity;
    for (let row = rows[0]; row < rows[1]; row++) {
      for (let column = columns[0]; column < columns[1]; column++) {
        largest = Math.max(largest, image[row * width + column]);
      }
    }
    return largest;
  });
}

/** The mean of each window; the zeros around the image count if `count_padding` is true. */
function average_pool2d_forward(x, layer) {
  return pool2d_forward(x, layer, (image, width, rows, columns) => {
    let sum = 0;
    for (let row = rows[0]; row < rows[1]; row++) {
      for (let column = columns[0]; column < columns[1]; column++) sum += image[row * width + column];
    }
    const inside = (rows[1] - rows[0]) * (columns[1] - columns[0]);
    return sum / (layer.count_padding ? rows[2] * columns[2] : inside);
  });
}

/** The mean of each channel. */
function global_average_pool_forward(x) {
  const [c, h, w] = x.shape;
  const y = zeros([c]);
  for (let i = 0; i < x.data.length; i++) y.data[Math.floor(i / (h * w))] += x.data[i] / (h * w);
  return y;
}

/** exp(scores) / sum(exp(scores)), for numbers of any size. */
function softmax(scores) {
  const largest = scores.data.reduce((a, b) => Math.max(a, b));
  const powers = Float64Array.from(scores.data, (score) => Math.exp(score - largest));
  const sum = powers.reduce((a, b) => a + b);
  return { shape: scores.shape, data: powers.map((power) => power / sum) };
}

/** The activation functions, which act on each element alone. */
const ACTIVATIONS = {
  ReLU: relu_forward,
  LeakyReLU: (x, layer) => leaky_relu_forward(x, layer.slope),
  Sigmoid: sigmoid_forward,
  Tanh: tanh_forward,
  GELU: (x, layer) => gelu_forward(x, layer.approximate),
  SiLU: silu_forward,
};

/** What each class of layer makes of x, as for prediction; `layer` has its parameters and hyper-parameters. */
const LAYERS = {
  ...ACTIVATIONS,
  Conv2D: conv2d_forward,
  Affine: (x, layer) => affine_forward(x, layer.weight, layer.bias),
  MaxPool2D: max_pool2d_forward,
  AveragePool2D: average_pool2d_forward,
  GlobalAveragePool: global_average_pool_forward,
  Dropout: (x) => x,
  BatchNorm2D: (x, layer) =>
    batch_norm2d_forward(x, layer.weight, layer.bias, layer.running_mean, layer.running_variance, layer.epsilon),
  Residual: (x, layer) => sum(run(x, layer.layers), layer.shortcut ? run(x, layer.shortcut) : x),
};

/** The output of layers in a row. */
function run(x, layers) {
  return layers.reduce((y, layer) => LAYERS[layer.class](y, layer), x);
}

/** The sum of two arrays of one shape. */
function sum(first, second) {
  return { shape: first.shape, data: first.data.map((value, i) => value + second.data[i]) };
}

/** A stack of layers, given as objects of name, class, parameters and hyper-parameters. */
class Sequential {
  constructor(layers) {
    this.layers = layers;
  }

  /** The output of every layer, first to last. */
  forward(x) {
    x = { shape: x.shape, data: Float64Array.from(x.data) };
    return this.layers.map((layer) => (x = LAYERS[layer.class](x, layer)));
  }

  /** The scores of the classes. */
  scores(x) {
    return this.forward(x).at(-1);
  }
}

/** The input for an image (C, H, W) of grey levels from 0 to 255: ((image / 255) - mean) / std, each step optional. */
function apply_statistics(image, statistics) {
  const { divide_by_255, mean, std } = statistics;
  const data = Float32Array.from(image.data, (level, i) => {
    let value = divide_by_255 ? Math.fround(level / 255) : level;
    if (mean) value = Math.fround(value - mean.data[i]);
    return std ? value / std.data[std.data.length === 1 ? 0 : i] : value;
  });
  return { shape: image.shape, data };
}

/** The numbers of a little-endian array in base64; those of half precision are multiplied by a scale. */
function decode_array({ shape, dtype, scale, data }) {
  const text = atob(data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i); // Uint8Array.from takes 20 times as long
  const view = new DataView(bytes.buffer);
  if (dtype === "uint8") return { shape, data: bytes };
  if (dtype === "float32") {
    return { shape, data: Float32Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true)) };
  }
  const is_far = scale > 2 ** 100 || scale < 2 ** -100; // near the ends of float32's range, or beyond
  const numbers = new (is_far ? Float64Array : Float32Array)(bytes.length / 2);
  for (let i = 0; i < numbers.length; i++) numbers[i] = scale * half_to_number(view.getUint16(2 * i, true));
  return { shape, data: numbers };
}

/** The number that 16 bits of IEEE 754's half precision stand for. */
function half_to_number(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
