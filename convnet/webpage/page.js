// The page: the drawing field, the samples, and a panel for every layer.

const page = JSON.parse(document.getElementById("model").textContent);
const element = (id) => document.getElementById(id);
const context_of = (canvas) => canvas.getContext("2d", { willReadFrequently: true });
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** A layer with its arrays decoded: objects with data. Objects of a class are layers that it holds. */
function decode_layer(layer) {
  const decode = (value) => {
    if (value?.data) return decode_array(value);
    return Array.isArray(value) && value[0]?.class ? value.map(decode_layer) : value;
  };
  return Object.fromEntries(Object.entries(layer).map(([key, value]) => [key, decode(value)]));
}

const model = new Sequential(page.layers.map(decode_layer));
const statistics = page.statistics && {
  ...page.statistics,
  mean: page.statistics.mean && decode_array(page.statistics.mean),
  std: page.statistics.std && decode_array(page.statistics.std),
};
const samples = page.samples.map((sample) => ({ ...sample, image: decode_array(sample.image) }));

/** Whether a key belongs to the browser, as Alt+Left does. */
const has_modifier = (event) => event.altKey || event.ctrlKey || event.metaKey;

/** A new element with properties and children. */
function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// ------------------------------------------------------------------------------------------------ pictures of arrays

/** The red, green and blue of a colour of the style sheet, which differs in the light and the dark. */
function colour(name) {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
}

let palette;
function read_palette() {
  palette = { ground: colour("--ground"), ink: colour("--ink"), least: colour("--least") };
}

/** Draw numbers (h, w): 0 as the ground's colour, up to `most` towards one colour, down to -`most` to another.
 *
 * The colour grows with the square root, so that numbers far below the largest are seen as well.
 */
function draw_map(canvas, data, [h, w], most) {
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const pixels = new ImageData(w, h);
  for (let i = 0; i < w * h; i++) {
    const part = most > 0 ? Math.sqrt(Math.min(Math.abs(data[i]) / most, 1)) : 0;
    const full = data[i] < 0 ? palette.least : palette.ink;
    for (let k = 0; k < 3; k++) pixels.data[4 * i + k] = palette.ground[k] + part * (full[k] - palette.ground[k]);
    pixels.data[4 * i + 3] = 255;
  }
  context_of(canvas).putImageData(pixels, 0, 0);
}

/** How many channels of an example are shown one beside the other; grey and coloured ones are a single picture. */
function channels_beside({ shape, data }) {
  const c = shape.length === 3 ? shape[0] : 1;
  return data instanceof Uint8Array && c === 3 ? 1 : c;
}

/** Draw an example: grey or coloured as a picture, and anything else as maps one beside the other. */
function draw_example(canvas, { shape, data }) {
  if (shape.length !== 3) {
    draw_vector(canvas, data);
    return;
  }
  const [c, h, w] = shape;
  if (data instanceof Uint8Array && (c === 1 || c === 3)) {
    Object.assign(canvas, { width: w, height: h });
    const pixels = new ImageData(w, h);
    for (let i = 0; i < h * w; i++) {
      for (let k = 0; k < 3; k++) pixels.data[4 * i + k] = data[(c === 3 ? k * h * w : 0) + i];
      pixels.data[4 * i + 3] = 255;
    }
    context_of(canvas).putImageData(pixels, 0, 0);
    return;
  }
  const beside = new Float32Array(data.length);
  data.forEach((value, i) => {
    const [channel, row, column] = [Math.floor(i / (h * w)), Math.floor(i / w) % h, i % w];
    beside[(row * c + channel) * w + column] = value;
  });
  draw_map(canvas, beside, [h, c * w], largest_of(data));
}

/** Draw numbers in rows of up to 50 cells, none of which is larger than a letter. */
function draw_vector(canvas, data) {
  const columns = Math.min(data.length, 50);
  const rows = Math.ceil(data.length / columns);
  const cells = new Float64Array(rows * columns);
  cells.set(data);
  canvas.style.maxWidth = `${1.5 * columns}rem`;
  draw_map(canvas, cells, [rows, columns], largest_of(data));
  const rest = rows * columns - data.length;
  context_of(canvas).clearRect(columns - rest, rows - 1, rest, 1);
}

function largest_of(data) {
  let largest = 0;
  for (const value of data) largest = Math.max(largest, Math.abs(value));
  return largest;
}

// --------------------------------------------------------------------------------------------------- what is shown

let outputs = null; // of every layer, for the example shown
let example = null; // the image (C, H, W) shown
let chosen = null; // the feature map whose place is marked: {panel, map}
let drawing_pointer = null; // which pointer draws a stroke now
let strokes = []; // of the drawing: points (x, y) of the field
let sample = null; // which of the samples is shown, in place of the drawing, which stays until one draws anew

/** The strokes that are shown. */
const drawn = () => (sample === null ? strokes : []);

const outputs_of = (image) => model.forward(statistics ? apply_statistics(image, statistics) : image);

/** Show an example: run the network and draw every panel; null clears them. */
function show(image) {
  example = image;
  const blank = { shape: page.input_shape, data: new Float32Array(product(page.input_shape)) };
  outputs = image && outputs_of(image);
  draw_example(element("image"), image ?? { ...blank, data: statistics ? new Uint8Array(blank.data.length) : blank.data });
  element("seen").classList.toggle("empty", !image);
  element("image").ariaLabel = image ? `The example as the network gets it, ${page.input_shape.join(" by ")}` : "Nothing yet";
  panels.forEach((panel) => panel.draw());
  show_answer();
}

const product = (sizes) => sizes.reduce((a, b) => a * b, 1);

/** Whether a stroke is being drawn: what is read out waits until it is done. */
const is_drawing = () => drawing_pointer !== null || pen.down;

function show_answer() {
  const probabilities = outputs && softmax(outputs.at(-1)).data;
  const winner = probabilities ? probabilities.indexOf(probabilities.reduce((a, b) => Math.max(a, b))) : -1;
  bars.forEach(({ item, bar, percent }, i) => {
    bar.style.width = winner >= 0 ? `${100 * probabilities[i]}%` : "0";
    percent.textContent = winner >= 0 ? `${(100 * probabilities[i]).toFixed(1)} %` : "";
    item.className = i === winner ? "winner" : "";
  });
  const list = element("bars");
  if (winner >= 0 && list.scrollHeight > list.clientHeight) {
    list.scrollTop = bars[winner].percent.offsetTop - list.clientHeight / 2;
  }
  element("verdict").ariaBusy = String(is_drawing());
  set_text(element("verdict"), verdict(probabilities, winner));
}

function verdict(probabilities, winner) {
  if (winner >= 0) return `${page.class_names[winner]}, ${(100 * probabilities[winner]).toFixed(1)} %`;
  if (probabilities) return "None: its numbers are out of range.";
  if (drawn().length) return "Nothing stands out: there is too much ink.";
  return drawable ? "Draw, or choose an example." : "Choose an example.";
}

/** Change a text only where it is another: each change may be read out. */
function set_text(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

const bars = page.class_names.map((name) => {
  const bar = make("div", { className: "bar" });
  const percent = make("span", { className: "percent" });
  const label = make("span", { className: "name", textContent: name, title: name });
  const item = make("li", {}, label, make("div", { className: "track" }, bar), percent);
  return { item, bar, percent };
});
element("bars").append(...bars.map(({ item }) => item));
if (bars.length > 15) element("bars").tabIndex = 0; // it is scrolled then

// ----------------------------------------------------------------------------------------------- a panel for a layer

/** The rows and columns of the input that position (i, j) of a layer's output sees, not cut off at its border. */
function receptive_field(index, i, j) {
  return seen_by(model.layers.slice(0, index + 1), [[i, i], [j, j]]);
}

/** The rows and columns of their input that layers in a row see for those of their output. */
function seen_by(layers, range) {
  return layers.reduceRight((seen, layer) => {
    if (layer.class === "Residual") {
      const [first, second] = [layer.layers, layer.shortcut ?? []].map((row) => seen_by(row, seen));
      return first.map((ends, axis) => [Math.min(ends[0], second[axis][0]), Math.max(ends[1], second[axis][1])]);
    }
    const extent = extent_of(layer);
    if (!extent) return seen; // element by element
    return seen.map(([first, last], axis) => {
      const start = (end) => end * layer.stride[axis] - sides_of(layer.padding)[axis][0];
      return [start(first), start(last) + extent[axis] - 1];
    });
  }, range);
}

/** The rows and the columns of the input that a position of a layer's output sees, or null where that is padding alone. */
function seen_from(index, i, j) {
  const [, h, w] = page.input_shape;
  const ranges = receptive_field(index, i, j).map(([first, last], axis) => [
    Math.max(first, 0),
    Math.min(last + 1, axis ? w : h),
  ]);
  return ranges.every(([start, end]) => start < end) ? ranges : null;
}

/** Mark rows and columns of the example; where its channels are shown one beside the other, in each of them. */
function mark_field([rows, columns]) {
  const [, h, w] = page.input_shape;
  const beside = channels_beside(example);
  const marks = Array.from({ length: beside }, (_, channel) => {
    const mark = make("div", { className: "field-mark" });
    Object.assign(mark.style, {
      top: `${(100 * rows[0]) / h}%`,
      height: `${(100 * (rows[1] - rows[0])) / h}%`,
      left: `${(100 * (channel * w + columns[0])) / (beside * w)}%`,
      width: `${(100 * (columns[1] - columns[0])) / (beside * w)}%`,
    });
    return mark;
  });
  element("fields").replaceChildren(...marks);
}

/** A picture of those rows and columns: on a phone the example itself may be out of sight. */
function seen_picture([rows, columns]) {
  const [height, width, w] = [rows[1] - rows[0], columns[1] - columns[0], page.input_shape[2]];
  const pictures = Array.from({ length: channels_beside(example) }, (_, channel) => {
    const canvas = make("canvas", { width, height });
    context_of(canvas).drawImage(element("image"), channel * w + columns[0], rows[0], width, height, 0, 0, width, height);
    return canvas;
  });
  return picture_group("seen", `What it sees there, ${height} by ${width}`, pictures);
}

/** Canvases that are one picture. */
function picture_group(className, ariaLabel, canvases) {
  const group = make("div", { className: `pictures ${className}`, ariaLabel }, ...canvases);
  group.setAttribute("role", "img");
  return group;
}

/** A panel of feature maps, one button each; the convolution is looked up for a map's weights. */
function map_panel(index, title, shape) {
  const [count, h, w] = shape;
  const conv = model.layers.slice(0, index + 1).findLast((layer) => layer.class === "Conv2D");
  const detail = make("div", { className: "detail", role: "status" });
  const hint = conv
    ? "Point at a map, tap it, or move to it with the arrow keys: you see the weights of its filter and the place of its largest output."
    : "Point at a map, tap it, or move to it with the arrow keys: you see the place of its largest output.";
  const buttons = Array.from({ length: count }, (_, map) => {
    const button = make("button", { type: "button", tabIndex: map ? -1 : 0 }, make("canvas", { width: w, height: h }));
    button.ariaLabel = `map ${map + 1} of ${count}`;
    button.ariaPressed = "false";
    for (const event of ["pointerenter", "focus", "click"]) button.addEventListener(event, () => choose(map));
    return button;
  });
  const group = make("div", { className: "maps" }, ...buttons);
  group.setAttribute("role", "group");
  group.ariaLabel = title;
  group.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && chosen?.panel === panel) panel.forget();
    const columns = getComputedStyle(group).gridTemplateColumns.split(" ").length;
    const step = has_modifier(event)
      ? 0
      : { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    const to = buttons.indexOf(document.activeElement) + step;
    if (!step || !buttons[to]) return;
    event.preventDefault();
    buttons[to].focus();
  });
  group.addEventListener("focusin", ({ target }) => {
    for (const button of buttons) button.tabIndex = button === target ? 0 : -1;
  });
  const section = make("section", {}, make("h2", { textContent: title }), make("div", {}, group, detail));

  function choose(map) {
    if (chosen && chosen.panel !== panel) chosen.panel.forget();
    chosen = { panel, map };
    buttons.forEach((button, i) => (button.ariaPressed = String(i === map)));
    describe();
  }

  function describe() {
    const map = chosen?.panel === panel ? chosen.map : null;
    detail.ariaBusy = String(is_drawing());
    if (map === null) {
      if (detail.textContent !== hint) detail.replaceChildren(make("p", { className: "hint", textContent: hint }));
      return;
    }
    const parts = [];
    let words = `Map ${map + 1}`;
    if (conv) {
      const [, c, kh, kw] = conv.weight.shape;
      const size = c * kh * kw;
      const weight = conv.weight.data.subarray(map * size, (map + 1) * size);
      const most = largest_of(weight);
      const channels = Array.from({ length: c }, (_, channel) => {
        const canvas = make("canvas");
        draw_map(canvas, weight.subarray(channel * kh * kw, (channel + 1) * kh * kw), [kh, kw], most);
        return canvas;
      });
      parts.push(picture_group("filter", `Weights of filter ${map + 1}, ${c} by ${kh} by ${kw}`, channels));
      words = `Filter ${map + 1} of ${conv.name}, ${kh} x ${kw}${c > 1 ? `, ${c} channels` : ""}`;
    }
    element("fields").replaceChildren();
    if (outputs) {
      const values = outputs[index].data.subarray(map * h * w, (map + 1) * h * w);
      const most = values.reduce((a, b) => Math.max(a, b));
      const at = values.indexOf(most);
      const [i, j] = [Math.floor(at / w), at % w];
      if (most === 0) {
        words += ". No output is above 0.";
      } else {
        const seen = seen_from(index, i, j);
        if (seen) {
          mark_field(seen);
          parts.push(seen_picture(seen));
        }
        const sees = seen ? "the frame in the image shows what it sees there" : "it sees only padding there";
        words += `. Its largest output, ${most.toPrecision(3)}, is at row ${i + 1}, column ${j + 1}; ${sees}.`;
      }
    }
    detail.replaceChildren(...parts, make("p", { textContent: words }));
  }

  const panel = {
    section,
    draw() {
      const data = outputs ? outputs[index].data : new Float32Array(count * h * w);
      const most = largest_of(data);
      buttons.forEach((button, map) => {
        draw_map(button.firstChild, data.subarray(map * h * w, (map + 1) * h * w), [h, w], most);
      });
      describe();
    },
    forget() {
      buttons.forEach((button) => (button.ariaPressed = "false"));
      chosen = null;
      element("fields").replaceChildren();
      describe();
    },
  };
  return panel;
}

/** A panel of a layer's numbers in rows, one cell each. */
function vector_panel(index, title, shape) {
  const count = product(shape);
  const canvas = make("canvas");
  canvas.setAttribute("role", "img");
  const section = make("section", {}, make("h2", { textContent: title }), make("div", { className: "vector" }, canvas));
  return {
    section,
    draw() {
      const data = outputs ? outputs[index].data : new Float64Array(count);
      const active = data.filter((value) => value > 0).length;
      canvas.ariaLabel = outputs ? `${active} of ${count} units are above 0` : "Nothing yet";
      draw_vector(canvas, data);
    },
    forget() {},
  };
}

/** The panels: one for each layer, but that an activation is shown in place of the layer before it. */
function make_panels() {
  const activation = (layer) => layer && (layer.class in ACTIVATIONS || layer.class === "Dropout");
  const made = [];
  let names = [];
  model.layers.forEach((layer, index) => {
    if (layer.class !== "Dropout") names.push(layer.class);
    if (activation(model.layers[index + 1])) return;
    const shape = page.output_shapes[index];
    if (names.length && index < model.layers.length - 1) {
      const what = shape.length === 3
        ? `${plural(shape[0], "map")} of ${shape[1]} x ${shape[2]}`
        : plural(product(shape), "unit");
      made.push((shape.length === 3 ? map_panel : vector_panel)(index, `${names.join(", ")}: ${what}`, shape));
    }
    names = [];
  });
  return made;
}

const drawable = page.drawable;
const panels = make_panels();
element("panels").append(...panels.map(({ section }) => section));
element("legend").hidden = !panels.length;

// ----------------------------------------------------------------------------------------------------------- drawing

const field = element("field");
const sheet = make("canvas"); // what is drawn, as large as the network needs it; not shown
const pen = { x: 128, y: 128, down: false, shown: false };
let waiting = false;

/** Draw all strokes, whose points are the field's, on a canvas of any size. */
function draw_strokes(canvas, ink) {
  const context = context_of(canvas);
  const [scale, width] = [canvas.width / field.width, 20];
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, field.width, field.height);
  Object.assign(context, { lineWidth: width, lineCap: "round", lineJoin: "round", strokeStyle: ink, fillStyle: ink });
  for (const stroke of drawn()) {
    context.beginPath();
    context.arc(...stroke[0], width / 2, 0, 2 * Math.PI); // a line without length leaves no mark
    context.fill();
    context.beginPath();
    context.moveTo(...stroke[0]);
    for (const point of stroke) context.lineTo(...point);
    context.stroke();
  }
}

const draw_field = () => draw_strokes(field, getComputedStyle(document.documentElement).getPropertyValue("--text"));

/**
 * The drawing as grey levels (H, W), its ink 255. Four pixels a side for one of the model's are enough: more are
 * averaged away, and take the longest part of an update.
 */
function bitmap() {
  const side = Math.min(4 * Math.max(...page.input_shape.slice(1)), field.width);
  if (sheet.width !== side) Object.assign(sheet, { width: side, height: side });
  draw_strokes(sheet, "black");
  const pixels = context_of(sheet).getImageData(0, 0, side, side).data;
  const data = new Uint8Array(side * side);
  for (let i = 0; i < data.length; i++) data[i] = pixels[4 * i + 3];
  return { shape: [side, side], data };
}

/** What is drawn as the network gets it, or null where nothing stands out. */
function drawn_image() {
  const image = prepare_digit(bitmap(), page.input_shape.slice(1));
  return image && { shape: page.input_shape, data: image.data };
}

/** Show what is drawn or chosen now, once in a frame of the screen. */
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    update();
  });
}

function update() {
  if (drawable) draw_field();
  show(drawn().length ? drawn_image() : samples[sample]?.image ?? null);
  if (drawable) {
    draw_pen();
    element("undo").disabled = !strokes.length;
    element("clear").disabled = !strokes.length && sample === null;
  }
  show_sample();
}

/** End the stroke that is being drawn. */
function end_stroke() {
  drawing_pointer = null;
  pen.down = false;
}

/** Begin a stroke; a sample gives way to a new drawing. */
function begin_stroke(point) {
  strokes = drawn();
  sample = null;
  strokes.push([point]);
}

/** Take the sample away, or else the last stroke. */
function undo() {
  if (sample === null) strokes.pop();
  show_drawing();
}

/** Take everything away. */
function clear() {
  strokes = [];
  show_drawing();
}

/** Show what is left of the drawing, whose last stroke is ended, in place of a sample. */
function show_drawing() {
  sample = null;
  end_stroke();
  if (!strokes.length) field.focus(); // the buttons that can be no longer pressed lose the focus
  redraw();
}

/** A ring where the keyboard's pen is, wider than a stroke while it is down; seen on the ink as on the ground. */
function draw_pen() {
  if (document.activeElement !== field || !pen.shown) return;
  const context = context_of(field);
  const colours = getComputedStyle(document.documentElement);
  for (const [lineWidth, name] of [[7, "--ground"], [3, "--mark"]]) {
    Object.assign(context, { lineWidth, strokeStyle: colours.getPropertyValue(name) });
    context.beginPath();
    context.arc(pen.x, pen.y, pen.down ? 14 : 9, 0, 2 * Math.PI);
    context.stroke();
  }
}

function point_of(event) {
  const box = field.getBoundingClientRect();
  return [
    ((event.clientX - box.left - field.clientLeft) / field.clientWidth) * field.width,
    ((event.clientY - box.top - field.clientTop) / field.clientHeight) * field.height,
  ];
}

if (drawable) {
  field.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || drawing_pointer !== null) return;
    drawing_pointer = event.pointerId;
    field.setPointerCapture(event.pointerId);
    pen.shown = pen.down = false;
    begin_stroke(point_of(event));
    redraw();
  });
  field.addEventListener("pointermove", (event) => {
    if (event.pointerId !== drawing_pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    strokes.at(-1)?.push(...(events.length ? events : [event]).map(point_of));
    redraw();
  });
  for (const name of ["pointerup", "pointercancel"]) {
    field.addEventListener(name, (event) => {
      if (event.pointerId !== drawing_pointer) return;
      drawing_pointer = null;
      redraw();
    });
  }
  field.addEventListener("keydown", (event) => {
    if (has_modifier(event) || drawing_pointer !== null) return;
    const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (event.key === " ") {
      if (!event.repeat) {
        pen.down = !pen.down;
        if (pen.down) begin_stroke([pen.x, pen.y]);
      }
    } else if (x || y) {
      const step = event.shiftKey ? 24 : 8;
      pen.x = Math.min(Math.max(pen.x + step * x, 8), field.width - 8);
      pen.y = Math.min(Math.max(pen.y + step * y, 8), field.height - 8);
      if (pen.down) strokes.at(-1)?.push([pen.x, pen.y]);
    } else return;
    event.preventDefault();
    pen.shown = true;
    redraw();
  });
  field.addEventListener("blur", () => {
    pen.shown = false;
    end_stroke();
    redraw();
  });
  element("undo").addEventListener("click", undo);
  element("clear").addEventListener("click", clear);
  document.addEventListener("keydown", (event) => {
    const is_undo = (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z";
    if (!is_undo || !strokes.length) return;
    event.preventDefault();
    undo();
  });
} else {
  element("drawing").remove();
}

// ----------------------------------------------------------------------------------------------------------- samples

const sample_buttons = samples.map(({ name, misread }, index) => {
  const canvas = make("canvas");
  const button = make("button", { type: "button" }, canvas);
  button.ariaLabel = `Example: ${name}${misread ? ", which the network misreads" : ""}`;
  button.ariaPressed = "false";
  if (misread) button.classList.add("misread");
  button.addEventListener("click", () => {
    sample = index;
    end_stroke();
    update();
  });
  return button;
});

/** Show which of the samples is chosen, if one is. */
function show_sample() {
  sample_buttons.forEach((button, index) => (button.ariaPressed = String(index === sample)));
  const chosen_sample = samples[sample];
  const dashed = samples.some(({ misread }) => misread) ? "The network misreads the one in the dashed frame." : "";
  const note = chosen_sample && `Label: ${chosen_sample.name}${chosen_sample.misread ? "; the network misreads it" : ""}.`;
  set_text(element("sample-note"), note ?? dashed);
  const [channels, ...pixels] = page.input_shape;
  const sizes = pixels.length === 2
    ? `${plural(channels, "channel")} of ${pixels.join(" x ")} pixels`
    : page.input_shape.length > 1 ? page.input_shape.join(" x ") : plural(channels, "number");
  const is_drawing_shown = drawable && sample === null;
  element("input-note").textContent = is_drawing_shown
    ? "Your drawing, cropped, scaled and centred as the digits of the training are."
    : `An example: ${sizes}.`;
}

if (samples.length) element("samples").append(...sample_buttons);
else element("try").hidden = true;

// ------------------------------------------------------------------------------------------------------------- start

/** Draw everything in the colours of the light or the dark. */
function repaint() {
  read_palette();
  samples.forEach(({ image }, index) => draw_example(sample_buttons[index].firstChild, image));
  update();
}

element("about").textContent = page.about;
element("cost").textContent = page.cost;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
if (!drawable) sample = 0;
repaint();

/** Prepare and read a stroke that is not shown, so that the browser compiles what is run again and again. */
function warm_up() {
  if (strokes.length || sample !== null) return;
  strokes.push([[64, 64], [192, 192]]);
  const image = drawn_image();
  strokes.pop();
  outputs_of(image);
}

// Once takes half of the time of the first stroke's update away, three times two thirds.
if (drawable) for (let time = 0; time < 3; time++) setTimeout(warm_up);
