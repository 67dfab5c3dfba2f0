// The numbers of one image's grid, read from its bytes as they are wanted.
class Grid {
  constructor(image) {
    [this.rows, this.columns] = image.grid;
    this.classes = image.classes || [];
    this.cells = this.rows * this.columns;
    this.low = image.low;
    this.high = image.high;
    this.activation = image.activation || data.activation;
    const bytes = bytesOf(image.maps);
    this.wide = image.depth === 16;
    this.view = new DataView(bytes.buffer);
    this.step = (image.high - image.low) / (this.wide ? 65535 : 255);
    this.sums = new DataView(bytesOf(image.lse).buffer);
  }

  logit(slot, cell) {
    const place = slot * this.cells + cell;
    return this.low + this.step * (this.wide ? this.view.getUint16(2 * place, true) : this.view.getUint8(place));
  }

  share(slot, cell) {
    const logit = this.logit(slot, cell);
    if (this.activation === "sigmoid") return 1 / (1 + Math.exp(-logit));
    return Math.min(1, Math.exp(logit - this.sums.getFloat32(4 * cell, true)));
  }

  // The listed classes of a cell, highest first.
  ranking(cell) {
    return this.classes
      .map((index, slot) => ({ index, share: this.share(slot, cell) }))
      .sort((a, b) => b.share - a.share);
  }

  // The logits of a class in all cells.
  plane(index) {
    const slot = this.classes.indexOf(index);
    return slot < 0 ? null : Float64Array.from({ length: this.cells }, (_, cell) => this.logit(slot, cell));
  }

  has(index) {
    return this.classes.includes(index);
  }
}

const grids = new WeakMap();
function gridOf(image) {
  if (!image.grid || !(image.classes || []).length) return null;
  if (!grids.has(image)) grids.set(image, new Grid(image));
  return grids.get(image);
}

// 256 colours of three bytes, from their hexadecimal digits.
const colours = (digits) => Uint8Array.from({ length: digits.length / 2 }, (_, at) => parseInt(digits.slice(2 * at, 2 * at + 2), 16));
const SCALES = { levels: colours(data.scale), differences: colours(data.difference) };

// Opacity over the photo as in the pictures of `predict`; of differences, the smaller the fainter.
const [FAINT, STRONG] = [0.3, 0.8];
const OPACITIES = {
  levels: (level) => FAINT + (STRONG - FAINT) * level,
  differences: (level) => 0.08 + 0.8 * Math.abs(2 * level - 1),
};

// Paint values of cells, `low` to `high`, in one of the SCALES.
function paintPlane(canvas, grid, plane, { low, high, scale }) {
  canvas.width = grid.columns;
  canvas.height = grid.rows;
  const pixels = new ImageData(grid.columns, grid.rows);
  for (let cell = 0; cell < grid.cells; cell += 1) {
    const level = Math.min(1, Math.max(0, (plane[cell] - low) / (high - low || 1)));
    const colour = 3 * Math.round(255 * level);
    pixels.data.set(SCALES[scale].subarray(colour, colour + 3), 4 * cell);
    pixels.data[4 * cell + 3] = Math.round(255 * OPACITIES[scale](level));
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

// What a map shows: a class, or one class less another, with its ends. Null where the grid has not got it.
function mapOf(grid, wanted) {
  if (!grid || wanted === null || wanted === undefined) return null;
  // By one logit "not x" is 0 everywhere: what speaks for either class is its logit less the other's.
  if (data.reading === "two-classes" && !Array.isArray(wanted)) return mapOf(grid, [wanted, 1 - wanted]);
  if (!Array.isArray(wanted)) {
    const plane = grid.plane(wanted);
    return plane && { plane, low: grid.low, high: grid.high, scale: "levels" };
  }
  const [first, second] = wanted.map((index) => grid.plane(index));
  if (!first || !second) return null;
  const plane = first.map((value, cell) => value - second[cell]);
  const high = plane.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
  return { plane, low: -high, high, scale: "differences" };
}
