// What can lie on a photo: a class's map, the difference of two, or who wins each cell. And how it is painted.

// `wanted` is { index }, { first, second } or { winners: true, colours }, the colours that classes have beside it; null where the answer has not got it.
function overlayOf(answer, wanted) {
  if (!wanted || !answer.head.arranged) return null;
  if (wanted.winners) return winnersMap(answer, wanted.colours);
  // By one logit "not x" is 0 everywhere: what speaks for either class is its logit less the other's.
  if (answer.head.reading === "two-classes" && wanted.index !== undefined) return differenceMap(answer, wanted.index, 1 - wanted.index);
  return wanted.index === undefined ? differenceMap(answer, wanted.first, wanted.second) : classMap(answer, wanted.index);
}

function endsOf(plane) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of plane) if (Number.isFinite(value)) [low, high] = [Math.min(low, value), Math.max(high, value)];
  return low > high ? [0, 0] : [low, high];
}

function classMap(answer, index) {
  const plane = answer.plane(index);
  if (!plane) return null;
  const [low, high] = endsOf(plane);
  return { kind: "levels", classes: [index], plane, low, high };
}

function differenceMap(answer, first, second) {
  const [one, other] = [answer.plane(first), answer.plane(second)];
  if (!one || !other) return null;
  const plane = one.map((value, cell) => value - other[cell]);
  const [low, high] = endsOf(plane);
  const most = Math.max(Math.abs(low), Math.abs(high)) || 1;
  return { kind: "differences", classes: [first, second], plane, low: -most, high: most };
}

function winnersMap(answer, given = new Map()) {
  answer.best; // counts them
  const most = answer.won.slice(0, data.colours.length).map(([index]) => index);
  const colours = new Map(answer.won.filter(([index]) => given.has(index)).map(([index]) => [index, given.get(index)]));
  const free = data.colours.filter((colour) => ![...given.values()].includes(colour));
  for (const index of most) if (!colours.has(index) && free.length) colours.set(index, free.shift());
  return { kind: "winners", classes: [], plane: answer.winners, colours };
}

// The colour and the opacity of a cell: [red, green, blue, 0..255].
function paintOf(map, cell) {
  const value = map.plane[cell];
  if (map.kind === "winners") return value < 0 ? [0, 0, 0, 0] : [...rgbOf(map.colours.get(value) ?? data.other), 150];
  if (Number.isNaN(value)) return [0, 0, 0, 0];
  const level = map.high > map.low ? Math.min(1, Math.max(0, (value - map.low) / (map.high - map.low))) : 0;
  const at = 3 * Math.round(255 * level);
  return [...SCALES[map.kind].subarray(at, at + 3), Math.round(255 * OPACITIES[map.kind](level))];
}

const rgbOf = (colour) => colour.match(/\d+/g).map(Number);

function paintMap(canvas, answer, map) {
  canvas.width = answer.columns;
  canvas.height = answer.rows;
  const pixels = new ImageData(answer.columns, answer.rows);
  for (let cell = 0; cell < answer.cells; cell += 1) pixels.data.set(paintOf(map, cell), 4 * cell);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

// A small map of a class, opaque.
function smallMap(answer, index) {
  const map = overlayOf(answer, { index });
  const canvas = make("canvas", { class: "small-map", width: answer.columns, height: answer.rows, "aria-hidden": "true" });
  if (!map) return canvas;
  const pixels = new ImageData(answer.columns, answer.rows);
  for (let cell = 0; cell < answer.cells; cell += 1) pixels.data.set([...paintOf(map, cell).slice(0, 3), 255], 4 * cell);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}
