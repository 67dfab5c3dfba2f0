// What can be taken away: the photo as it is shown, as PNG and SVG; the arrays; the lines of Python that give the same.

// What a picture of the photo says below itself.
function captionOf(view, { smooth }) {
  const { answer, map, photo } = view;
  const names = map ? map.classes.map((index) => shortIn(answer.head, index)).join(" − ") : "";
  const what = !map ? "" : map.kind === "winners" ? "the class that wins each cell" : `${names}: ${shown(map.low)} to ${shown(map.high)}`;
  const said = [...view.origin, smooth && map ? "interpolated, not measured" : ""].filter(Boolean);
  return [[photo.name, what].filter(Boolean).join(" · "), said.join(" · ")];
}

// Boxes, the chosen rectangle and the kept cell, in fractions of the photo: [shape, colour].
function framesOf(view) {
  const { answer, boxes, state } = view;
  const [x0, y0, x1, y1] = answer.window;
  const across = (share) => x0 + (x1 - x0) * share;
  const down = (share) => y0 + (y1 - y0) * share;
  const ofCells = ([row0, column0, row1, column1]) => [across(column0 / answer.columns), down(row0 / answer.rows), across((column1 + 1) / answer.columns), down((row1 + 1) / answer.rows)];
  const frames = boxes.map((box) => [[across(box[0] / MAP_SIDE), down(box[1] / MAP_SIDE), across(box[2] / MAP_SIDE), down(box[3] / MAP_SIDE)], "#ff5fb0"]);
  if (state.rectangle) frames.push([ofCells(state.rectangle), "#ffd75e"]);
  if (state.cell !== null && answer.head.arranged) {
    const [row, column] = [Math.floor(state.cell / answer.columns), state.cell % answer.columns];
    frames.push([ofCells([row, column, row, column]), "#ffffff"]);
  }
  return frames;
}

const LEAST = 640; // pixels of an exported picture's longer side

function sizeOf(photo) {
  const [width, height] = photo.size;
  const scale = Math.max(1, Math.ceil(LEAST / Math.max(width, height)));
  return { width: width * scale, height: height * scale, below: 48 };
}

async function overlayPng(view, options) {
  const { width, height, below } = sizeOf(view.photo);
  const canvas = make("canvas", { width, height: height + below });
  const context = canvas.getContext("2d");
  const picture = new Image();
  picture.src = view.photo.thumb;
  await picture.decode();
  context.imageSmoothingEnabled = Math.max(...view.photo.size) > 128;
  context.filter = view.map ? "grayscale(1)" : "none";
  context.drawImage(picture, 0, 0, width, height);
  context.filter = "none";
  if (view.map) {
    const [x0, y0, x1, y1] = view.answer.window;
    context.save();
    context.beginPath();
    context.rect(0, 0, width, height);
    context.clip();
    context.imageSmoothingEnabled = options.smooth;
    context.globalAlpha = options.opacity;
    context.drawImage(view.stage.canvas, x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height);
    context.restore();
  }
  for (const [[x0, y0, x1, y1], colour] of framesOf(view)) {
    for (const [stroke, line] of [["rgb(0 0 0 / 0.6)", 5], [colour, 2]]) {
      Object.assign(context, { strokeStyle: stroke, lineWidth: line });
      context.strokeRect(x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height);
    }
  }
  Object.assign(context, { fillStyle: "#ffffff" });
  context.fillRect(0, height, width, below);
  captionOf(view, options).forEach((line, place) => {
    Object.assign(context, { fillStyle: place ? "#5b6470" : "#1b1f24", font: "14px sans-serif" });
    context.fillText(line, 8, height + 19 + 20 * place, width - 16);
  });
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

function overlaySvg(view, options) {
  const { width, height, below } = sizeOf(view.photo);
  const { answer, map } = view;
  const svg = draw("svg", { xmlns: "http://www.w3.org/2000/svg", width, height: height + below, viewBox: `0 0 ${width} ${height + below}` });
  const filter = draw("filter", { id: "grey" });
  filter.append(draw("feColorMatrix", { type: "saturate", values: "0" }));
  const clip = draw("clipPath", { id: "photo" });
  clip.append(draw("rect", { width, height }));
  const defs = draw("defs");
  defs.append(filter, clip);
  const hard = Math.max(...view.photo.size) <= 128 ? { "image-rendering": "pixelated" } : {};
  svg.append(defs, draw("rect", { width, height: height + below, fill: "#ffffff" }), draw("image", { href: view.photo.thumb, width, height, preserveAspectRatio: "none", ...hard, ...(map ? { filter: "url(#grey)" } : {}) }));
  if (map) {
    const [x0, y0, x1, y1] = answer.window;
    const group = draw("g", { "clip-path": "url(#photo)", opacity: options.opacity });
    const [across, down] = [((x1 - x0) * width) / answer.columns, ((y1 - y0) * height) / answer.rows];
    if (options.smooth) group.append(draw("image", { href: view.stage.canvas.toDataURL(), x: x0 * width, y: y0 * height, width: across * answer.columns, height: down * answer.rows, preserveAspectRatio: "none" }));
    else {
      for (let cell = 0; cell < answer.cells; cell += 1) {
        const [red, green, blue, alpha] = paintOf(map, cell);
        if (alpha) group.append(draw("rect", { x: x0 * width + across * (cell % answer.columns), y: y0 * height + down * Math.floor(cell / answer.columns), width: across, height: down, fill: `rgb(${red},${green},${blue})`, "fill-opacity": (alpha / 255).toFixed(3), "shape-rendering": "crispEdges" }));
      }
    }
    svg.append(group);
  }
  for (const [[x0, y0, x1, y1], colour] of framesOf(view)) svg.append(draw("rect", { x: x0 * width, y: y0 * height, width: (x1 - x0) * width, height: (y1 - y0) * height, fill: "none", stroke: colour, "stroke-width": 2 }));
  captionOf(view, options).forEach((line, place) => {
    const text = draw("text", { x: 8, y: height + 19 + 20 * place, fill: place ? "#5b6470" : "#1b1f24", "font-family": "sans-serif", "font-size": 14 });
    text.textContent = line;
    svg.append(text);
  });
  return new XMLSerializer().serializeToString(svg);
}

const bytesIn = (array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

// logits (K,), or in a report those of `classes`, grid (classes, rows, columns), classes, and cells (rows, columns, 4) in pixels of the photo as stored; of
// what changed between two models `change` in place of the first two.
function arraysOf(view) {
  const { answer, photo } = view;
  const { rows, columns, classes } = answer;
  const values = { type: "<f4", shape: [classes.length, rows, columns], bytes: bytesIn(Float32Array.from(answer.values)) };
  const logits = answer.logits && { type: "<f4", shape: [answer.logits.length], bytes: bytesIn(answer.logits) };
  const arrays = {
    ...(logits ? { logits, grid: values } : { change: values }),
    classes: { type: "<i4", shape: [classes.length], bytes: bytesIn(Int32Array.from(classes)) },
  };
  if (answer.head.arranged) {
    const [[x0, y0, x1, y1], [width, height]] = [answer.window, photo.full];
    const x = (column) => Math.min(width, Math.max(0, (x0 + ((x1 - x0) * column) / columns) * width));
    const y = (row) => Math.min(height, Math.max(0, (y0 + ((y1 - y0) * row) / rows) * height));
    const cells = Float32Array.from(Array.from({ length: rows * columns }, (_, cell) => [Math.floor(cell / columns), cell % columns]).flatMap(([row, column]) => [x(column), y(row), x(column + 1), y(row + 1)]));
    arrays.cells = { type: "<f4", shape: [rows, columns, 4], bytes: bytesIn(cells) };
  }
  return arrays;
}

// Python that gives what is shown: texts as JSON, whose escapes are Python's, too.
function linesOf(view) {
  const { answer, model, photo, state } = view;
  const { place } = answer.head;
  const grid = place ? `found.heads[${place}].grid` : "found.grid";
  const [name, parameter] = (state.pool || "mean").split("=");
  const pooled = state.pool ? `Aggregator(${JSON.stringify(name)}${parameter ? `, ${parameter}` : ""})(${grid})` : place ? `found.heads[${place}].logits` : "found.logits";
  const [row0, column0, row1, column1] = state.rectangle ?? [];
  const here = state.cell !== null ? `${grid}[:, ${Math.floor(state.cell / answer.columns)}, ${state.cell % answer.columns}]` : state.rectangle ? `${grid}[:, ${row0}:${row1 + 1}, ${column0}:${column1 + 1}].mean(axis=(1, 2))` : null;
  const imports = ["Classifier", ...(state.pool ? ["Aggregator"] : []), ...model.imports].sort().join(", ");
  return [
    ...(photo.within ? ["# The photo lies in a shard or behind a URL: save its bytes as a file, and name that."] : []),
    `from onnx_gapmil import ${imports}`,
    `found = Classifier(${[JSON.stringify(model.name), ...model.arguments].join(", ")}).predict(${JSON.stringify(photo.name)})`,
    `image, here = ${pooled}, ${here ?? "None"}`,
  ].join("\n");
}

const stemOf = (photo) => String(photo.name).replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N}_-]+/gu, "_") || "photo";

// The bar of what can be taken away; `views()` are those that are shown, `options()` how. Of several, which one is chosen.
function exportBar(views, options) {
  const of = make("select", { id: "export-of", "aria-label": "Of which" });
  const chosen = () => views()[of.selectedIndex] ?? views()[0];
  const save = (ending, make_) => async () => {
    const view = chosen();
    saveAs(`${stemOf(view.photo)}${view.part}${ending}`, await make_(view, options()));
  };
  const blocks = make("div");
  const details = make("details", { class: "code" }, make("summary", {}, "The same numbers from Python"), blocks);
  const block = (view, place, several) => {
    const name = several ? `: ${view.model.name}` : "";
    const code = make("pre", { id: place ? `code-${place + 1}` : "code", tabindex: "0", role: "region", "aria-label": `Python that gives the same numbers${name}` });
    code.textContent = linesOf(view);
    const title = several ? make("p", { class: "code-title" }, ...view.titleNodes()) : null;
    return make("div", {}, title, code, actionButton("Copy", "Copied", () => copyText(code.textContent)));
  };
  const bar = make(
    "div",
    { class: "exports controls" },
    make("span", { class: "soft" }, "Save "),
    of,
    actionButton("PNG", "Saved", save(".png", overlayPng)),
    actionButton("SVG", "Saved", save(".svg", (view, how) => new Blob([overlaySvg(view, how)], { type: "image/svg+xml" }))),
    actionButton("NPZ", "Saved", save(".npz", (view) => npzOf(arraysOf(view)))),
    actionButton("Link", "Copied", () => copyText(location.href)),
  );
  const render = () => {
    const all = views();
    const runs = all.filter((view) => view.answer.logits); // no three lines give a change
    of.hidden = all.length < 2;
    if (of.options.length !== all.length) of.replaceChildren(...all.map((view) => make("option", {}, view.called)));
    // What is made once is only filled anew: a reader may have marked a line.
    if (blocks.children.length !== runs.length) blocks.replaceChildren(...runs.map((view, place) => block(view, place, runs.length > 1)));
    else for (const [place, part] of [...blocks.children].entries()) part.querySelector("pre").textContent = linesOf(runs[place]);
  };
  return { bar, details, render };
}
