// A photo with its grid: cells, boxes, the network's window, and the map of a class.

// The numbers of one image's grid, decoded when they are first wanted.
class Grid {
  constructor(image) {
    [this.rows, this.columns] = image.grid;
    this.classes = image.classes || [];
    this.cells = this.rows * this.columns;
    this.low = image.low;
    this.high = image.high;
    this.activation = image.activation || data.activation;
    const bytes = bytesOf(image.maps);
    const wide = image.depth === 16;
    const view = new DataView(bytes.buffer);
    const step = (image.high - image.low) / (wide ? 65535 : 255);
    this.logits = new Float64Array(this.classes.length * this.cells);
    for (let place = 0; place < this.logits.length; place += 1) {
      this.logits[place] = image.low + step * (wide ? view.getUint16(2 * place, true) : view.getUint8(place));
    }
    const sums = bytesOf(image.lse);
    const sumView = new DataView(sums.buffer);
    this.lse = new Float64Array(sums.length / 4);
    for (let place = 0; place < this.lse.length; place += 1) this.lse[place] = sumView.getFloat32(4 * place, true);
  }

  logit(slot, cell) {
    return this.logits[slot * this.cells + cell];
  }

  share(slot, cell) {
    const logit = this.logit(slot, cell);
    if (this.activation === "sigmoid") return 1 / (1 + Math.exp(-logit));
    return Math.min(1, Math.exp(logit - this.lse[cell]));
  }

  // The listed classes of a cell, highest first.
  ranking(cell) {
    return this.classes
      .map((index, slot) => ({ index, share: this.share(slot, cell) }))
      .sort((a, b) => b.share - a.share);
  }
}

const grids = new WeakMap();
function gridOf(image) {
  if (!image.grid || !(image.classes || []).length) return null;
  if (!grids.has(image)) grids.set(image, new Grid(image));
  return grids.get(image);
}

// Opacity over the photo as in the pictures of `predict`.
const [FAINT, STRONG] = [0.3, 0.8];

const byLevel = (level) => FAINT + (STRONG - FAINT) * level;

function paintMap(canvas, grid, slot, scale = data.scale, opacity = byLevel) {
  canvas.width = grid.columns;
  canvas.height = grid.rows;
  const pixels = new ImageData(grid.columns, grid.rows);
  for (let cell = 0; cell < grid.cells; cell += 1) {
    const level = Math.min(1, Math.max(0, (grid.logit(slot, cell) - grid.low) / (grid.high - grid.low || 1)));
    const colour = 6 * Math.round(255 * level);
    for (let channel = 0; channel < 3; channel += 1) {
      const at = colour + 2 * channel;
      pixels.data[4 * cell + channel] = parseInt(scale.slice(at, at + 2), 16);
    }
    pixels.data[4 * cell + 3] = Math.round(255 * opacity(level));
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

class Stage {
  // `room` is the side in CSS pixels that the photo may take.
  constructor(image, room) {
    this.image = image;
    this.grid = gridOf(image);
    [this.width, this.height] = image.size;
    this.window = image.window || [0, 0, 1, 1];
    const [x0, y0, x1, y1] = this.window;
    this.left = Math.min(0, x0);
    this.top = Math.min(0, y0);
    this.across = Math.max(1, x1) - this.left;
    this.down = Math.max(1, y1) - this.top;
    this.cell = null;
    this.element = make("div", { class: "stage" });
    this.element.append(this.photo());
    this.fit(room);
    if (this.grid) this.addGrid();
    else if ((image.boxes || []).length) this.element.append(this.overlay());
  }

  photo() {
    const source = String(this.image.thumb || "");
    const photo = make("img", {
      width: this.width,
      height: this.height,
      alt: this.grid ? "" : this.image.name,
      decoding: "async",
      loading: "lazy",
      src: source.startsWith("data:image/") ? source : null,
    });
    this.lay(photo, 0, 0, 1, 1);
    return photo;
  }

  // Small pictures grow by whole factors with hard pixels; photos are not enlarged beyond twice their size.
  fit(room) {
    const [wide, high] = [this.across * this.width, this.down * this.height];
    const longest = Math.max(wide, high);
    const whole = longest <= 128;
    const scale = whole ? Math.max(1, Math.floor(room / longest)) : Math.min(room > 300 ? 2 : 1, room / longest);
    this.element.style.width = `${Math.round(wide * scale)}px`;
    this.element.style.aspectRatio = `${wide} / ${high}`;
    this.element.classList.toggle("pixels", whole && scale > 1);
  }

  lay(element, x0, y0, x1, y1) {
    element.style.left = `${(100 * (x0 - this.left)) / this.across}%`;
    element.style.top = `${(100 * (y0 - this.top)) / this.down}%`;
    element.style.width = `${(100 * (x1 - x0)) / this.across}%`;
    element.style.height = `${(100 * (y1 - y0)) / this.down}%`;
  }

  addGrid() {
    this.canvas = make("canvas", { class: "map", width: 1, height: 1, hidden: true, "aria-hidden": "true" });
    this.lay(this.canvas, ...this.window);
    const { rows, columns } = this.grid;
    const element = this.element;
    element.append(this.canvas, this.overlay());
    element.tabIndex = 0;
    element.setAttribute("role", "application");
    element.setAttribute("aria-roledescription", "prediction grid");
    element.setAttribute(
      "aria-label",
      `${this.image.name}, ${rows} by ${columns} cells. Arrow keys move from cell to cell, Enter keeps one.`,
    );
  }

  // x and y of the SVG are pixels of the thumbnail.
  overlay() {
    const [width, height] = [this.width, this.height];
    const view = [this.left * width, this.top * height, this.across * width, this.down * height];
    const svg = draw("svg", { viewBox: view.join(" "), preserveAspectRatio: "none", "aria-hidden": "true", class: "over" });
    const [x0, y0, x1, y1] = this.window;
    if (x0 > 0.002 || y0 > 0.002 || x1 < 0.998 || y1 < 0.998) {
      const whole = `M${view[0]} ${view[1]}h${view[2]}v${view[3]}h${-view[2]}z`;
      const seen = this.rectangle(x0, y0, x1, y1);
      svg.append(draw("path", { d: whole + seen, class: "unseen-part", "fill-rule": "evenodd" }));
      svg.append(draw("path", { d: seen, class: "window" }));
    }
    if (this.grid) {
      const lines = this.lines();
      svg.append(draw("path", { d: lines, class: "cells under" }), draw("path", { d: lines, class: "cells" }));
      const outline = this.outline(this.image.foreground || []);
      if (outline) {
        svg.append(draw("path", { d: outline, class: "foreground under" }), draw("path", { d: outline, class: "foreground" }));
      }
    }
    (this.image.boxes || []).forEach((box, place) => {
      const shape = this.rectangle(...box);
      const classes = (this.image.box_classes || [])[place];
      const kind = classes && classes.length && !classes.some((one) => this.image.labels.includes(one)) ? " other" : "";
      svg.append(draw("path", { d: shape, class: `box under${kind}` }), draw("path", { d: shape, class: `box${kind}` }));
    });
    if (this.grid) {
      this.cursor = draw("g", { class: "cursor" });
      this.cursor.append(draw("path", { class: "under" }), draw("path"));
      svg.append(this.cursor);
    }
    return svg;
  }

  rectangle(x0, y0, x1, y1) {
    const [left, top, right, bottom] = [x0 * this.width, y0 * this.height, x1 * this.width, y1 * this.height];
    return `M${left} ${top}H${right}V${bottom}H${left}Z`;
  }

  // The x of a line between columns and the y of a line between rows, in pixels of the thumbnail.
  across_(column) {
    return (this.window[0] + ((this.window[2] - this.window[0]) * column) / this.grid.columns) * this.width;
  }

  down_(row) {
    return (this.window[1] + ((this.window[3] - this.window[1]) * row) / this.grid.rows) * this.height;
  }

  lines() {
    const { rows, columns } = this.grid;
    let path = "";
    for (let column = 1; column < columns; column += 1) {
      path += `M${this.across_(column)} ${this.down_(0)}V${this.down_(rows)}`;
    }
    for (let row = 1; row < rows; row += 1) path += `M${this.across_(0)} ${this.down_(row)}H${this.across_(columns)}`;
    return path;
  }

  // The border between the cells of a set and the others.
  outline(cells) {
    const inside = new Set(cells);
    const { rows, columns } = this.grid;
    const has = (row, column) =>
      row >= 0 && column >= 0 && row < rows && column < columns && inside.has(row * columns + column);
    let path = "";
    for (const cell of inside) {
      const [row, column] = [Math.floor(cell / columns), cell % columns];
      const [x0, x1, y0, y1] = [this.across_(column), this.across_(column + 1), this.down_(row), this.down_(row + 1)];
      if (!has(row - 1, column)) path += `M${x0} ${y0}H${x1}`;
      if (!has(row + 1, column)) path += `M${x0} ${y1}H${x1}`;
      if (!has(row, column - 1)) path += `M${x0} ${y0}V${y1}`;
      if (!has(row, column + 1)) path += `M${x1} ${y0}V${y1}`;
    }
    return path;
  }

  // The cell under a point of the window, in CSS pixels of the page; null outside the grid.
  at(clientX, clientY) {
    const area = this.element.getBoundingClientRect();
    const x = this.left + ((clientX - area.left) / area.width) * this.across;
    const y = this.top + ((clientY - area.top) / area.height) * this.down;
    return this.cellAt(x, y);
  }

  // The cell that shows a place of the photo, in fractions of its width and height; null outside the grid.
  cellAt(x, y) {
    const [x0, y0, x1, y1] = this.window;
    const column = Math.floor(((x - x0) / (x1 - x0)) * this.grid.columns);
    const row = Math.floor(((y - y0) / (y1 - y0)) * this.grid.rows);
    if (row < 0 || column < 0 || row >= this.grid.rows || column >= this.grid.columns) return null;
    return row * this.grid.columns + column;
  }

  mark(cell, kept) {
    this.cell = cell;
    const [row, column] = [Math.floor(cell / this.grid.columns), cell % this.grid.columns];
    const [x0, x1, y0, y1] = [this.across_(column), this.across_(column + 1), this.down_(row), this.down_(row + 1)];
    const shape = cell === null ? "" : `M${x0} ${y0}H${x1}V${y1}H${x0}Z`;
    for (const path of this.cursor.children) path.setAttribute("d", shape);
    this.cursor.classList.toggle("kept", kept);
  }

  // Lay the map of a class over the photo, or none.
  show(index) {
    const slot = index === null ? -1 : this.grid.classes.indexOf(index);
    this.canvas.hidden = slot < 0;
    this.element.classList.toggle("mapped", slot >= 0);
    if (slot >= 0) paintMap(this.canvas, this.grid, slot);
  }
}
