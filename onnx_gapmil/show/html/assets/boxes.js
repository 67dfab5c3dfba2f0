// Boxes cut from a map by the audit's own rule (`metrics/scoremap.py`, `metrics/localization.py`, after arXiv
// 2007.04178): bicubic to 224 x 224, less the minimum, divided by the maximum, in 8 bits; what lies above the threshold
// is left, and each of its contours, holes included, gives a box.
const MAP_SIDE = 224;

// OpenCV's INTER_CUBIC along one axis: for each of 224 places the four cells it is made of, and their weights.
function cubicTaps(cells) {
  const A = -0.75;
  return Array.from({ length: MAP_SIDE }, (_, place) => {
    const at = Math.fround((place + 0.5) * (cells / MAP_SIDE) - 0.5);
    const first = Math.floor(at);
    const x = at - first;
    const weights = [((A * (x + 1) - 5 * A) * (x + 1) + 8 * A) * (x + 1) - 4 * A, ((A + 2) * x - (A + 3)) * x * x + 1];
    weights.push(((A + 2) * (1 - x) - (A + 3)) * (1 - x) * (1 - x) + 1);
    weights.push(1 - weights[0] - weights[1] - weights[2]);
    return { at: [-1, 0, 1, 2].map((step) => Math.min(cells - 1, Math.max(0, first + step))), weights };
  });
}

// A class's map as 8-bit numbers, 224 x 224, row by row; null where it is flat.
function scoreMap(plane, rows, columns) {
  const across = cubicTaps(columns);
  const wide = new Float64Array(rows * MAP_SIDE);
  for (let row = 0; row < rows; row += 1) {
    for (let x = 0; x < MAP_SIDE; x += 1) {
      const { at, weights } = across[x];
      for (let tap = 0; tap < 4; tap += 1) wide[row * MAP_SIDE + x] += weights[tap] * Math.fround(plane[row * columns + at[tap]]);
    }
  }
  const large = new Float32Array(MAP_SIDE * MAP_SIDE);
  cubicTaps(rows).forEach(({ at, weights }, y) => {
    for (let x = 0; x < MAP_SIDE; x += 1) {
      let sum = 0;
      for (let tap = 0; tap < 4; tap += 1) sum += weights[tap] * wide[at[tap] * MAP_SIDE + x];
      large[y * MAP_SIDE + x] = sum;
    }
  });
  let [low, high] = [Infinity, -Infinity];
  for (const value of large) [low, high] = [Math.min(low, value), Math.max(high, value)];
  if (low === high) return null;
  const span = Math.fround(high - low);
  return Uint8Array.from(large, (value) => Math.fround(Math.fround(Math.fround(value - low) / span) * 255));
}

// The boxes of connected places of one kind, with a frame of the other kind around the map: [x0, y0, x1, y1, touches].
function regionBoxes(inside, diagonal) {
  const side = MAP_SIDE;
  const seen = new Uint8Array(side * side);
  const stack = new Int32Array(side * side);
  const found = [];
  for (let start = 0; start < seen.length; start += 1) {
    if (!inside[start] || seen[start]) continue;
    let [x0, y0, x1, y1, depth] = [side, side, -1, -1, 0];
    stack[depth++] = start;
    seen[start] = 1;
    while (depth) {
      const at = stack[--depth];
      const [x, y] = [at % side, Math.floor(at / side)];
      [x0, y0, x1, y1] = [Math.min(x0, x), Math.min(y0, y), Math.max(x1, x), Math.max(y1, y)];
      for (let dy = -1; dy <= 1; dy += 1) {
        for (let dx = -1; dx <= 1; dx += 1) {
          if ((dx && dy && !diagonal) || x + dx < 0 || x + dx >= side || y + dy < 0 || y + dy >= side) continue;
          const next = at + dy * side + dx;
          if (inside[next] && !seen[next]) {
            seen[next] = 1;
            stack[depth++] = next;
          }
        }
      }
    }
    found.push([x0, y0, x1, y1]);
  }
  return found;
}

// The boxes of a map at a threshold in 0..1, as corners in 0..224 of the network's window: outer contours, then holes.
// The box of a contour ends one pixel late, as in the source.
function contourBoxes(map, threshold) {
  if (map === null) return [];
  const level = Math.floor(threshold * 255);
  const above = map.map((value) => Number(value > level));
  const late = ([x0, y0, x1, y1]) => [x0, y0, Math.min(x1 + 1, MAP_SIDE - 1), Math.min(y1 + 1, MAP_SIDE - 1)];
  const outer = regionBoxes(above, true).map(late);
  const holes = regionBoxes(above.map((value) => 1 - value), false)
    .filter(([x0, y0, x1, y1]) => x0 > 0 && y0 > 0 && x1 < MAP_SIDE - 1 && y1 < MAP_SIDE - 1)
    .map(([x0, y0, x1, y1]) => late([x0 - 1, y0 - 1, x1 + 1, y1 + 1]));
  return [...outer, ...holes];
}

// Intersection over union of boxes whose corners are pixels that belong to them.
function overlapOf(a, b) {
  const common = [0, 1].map((axis) => Math.max(0, Math.min(a[axis + 2], b[axis + 2]) - Math.max(a[axis], b[axis]) + 1));
  const area = (box) => (box[2] - box[0] + 1) * (box[3] - box[1] + 1);
  return (common[0] * common[1]) / (area(a) + area(b) - common[0] * common[1]);
}

// The boxes of an image's objects in whole pixels of the map, cut at what the network sees.
function boxesOnMap(boxes, window) {
  const [x0, y0, x1, y1] = window;
  const inside = (value, low, high) => Math.min(MAP_SIDE, Math.max(0, ((value - low) / (high - low)) * MAP_SIDE));
  return boxes
    .map((box) => [inside(box[0], x0, x1), inside(box[1], y0, y1), inside(box[2], x0, x1), inside(box[3], y0, y1)])
    .filter((box) => box[2] > box[0] && box[3] > box[1])
    .map((box) => box.map((value) => Math.floor(value + 1e-9)));
}
