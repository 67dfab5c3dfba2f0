// One head's answer to a photo: the logits of its cells as the page keeps them, and what follows from them.
const floatsOf = (text) => new Float32Array(bytesOf(text).buffer);

// Aggregators by the keys that the library reads (`onnx_gapmil.aggregate`), each of one class's cells.
const POOLS = {
  mean: (cells) => cells.reduce((sum, value) => sum + value, 0) / cells.length,
  max: (cells) => cells.reduce((most, value) => Math.max(most, value), -Infinity),
  lse: (cells, r) => {
    const top = POOLS.max(cells);
    return top + Math.log(cells.reduce((sum, value) => sum + Math.exp(r * (value - top)), 0) / cells.length) / r;
  },
  topk: (cells, count) => {
    const highest = Float64Array.from(cells).sort();
    return POOLS.mean(highest.subarray(highest.length - Math.min(count, highest.length)));
  },
};

function poolOf(key) {
  const [name, parameter] = key.split("=");
  return (cells) => POOLS[name](cells, Number(parameter));
}

const POOL_NAMES = { mean: "mean", max: "maximum", lse: "log-sum-exp", topk: "mean of the highest cells", softmax_weighted: "softmax-weighted", noisy_or: "noisy-or", median: "median", generalized_mean: "generalized mean", prob_mean: "mean of cell probabilities" };
function poolName(key) {
  const [name, parameter] = key.split("=");
  if (name === "topk" && Number(parameter) > 1) return `mean of the ${parameter} highest cells`;
  return `${POOL_NAMES[name] ?? name}${parameter ? `, r = ${parameter}` : ""}`;
}

// The logits of all cells, (classes, cells), of 16 bits each: `low` and `step` give those of a class, and the last level
// is no number where `gaps` says so.
function logitsOf(levels, cells, low, step, gaps) {
  const values = new Float64Array(levels.length);
  for (let at = 0; at < levels.length; at += 1) {
    const slot = Math.floor(at / cells);
    values[at] = gaps && levels[at] === 65535 ? NaN : low(slot) + step(slot) * levels[at];
  }
  return values;
}

// What a report keeps of an image: some classes' cells between the lowest and the highest of all of them.
function keptOfMaps(image, own = (index) => index) {
  const bytes = bytesOf(image.maps);
  const levels = image.depth === 16 ? new Uint16Array(bytes.buffer) : bytes;
  const step = (image.high - image.low) / (image.depth === 16 ? 65535 : 255);
  return {
    classes: image.classes.map(own),
    labels: (image.labels ?? []).map(own),
    values: logitsOf(levels, 1, () => image.low, () => step, false),
    error: step / 2,
    bestKept: Boolean(image.best_kept),
    logits: floatsOf(image.logits), // of these classes alone, with the sum of all
    sum: image.sum,
    sums: floatsOf(image.lse),
    winners: new Int32Array(bytesOf(image.winners).buffer),
  };
}

class Answer {
  // `kept` has what a page keeps of the grid, decoded: classes (null for all), values, error, bestKept, logits, sums,
  // winners; where logits are of these classes alone, `sum` is the log-sum-exp of all.
  constructor(head, { grid, window, placeless }, kept) {
    Object.assign(this, { head, window, placeless }, kept);
    [this.rows, this.columns] = grid;
    this.cells = this.rows * this.columns;
    this.classes = kept.classes ?? Array.from({ length: head.classes }, (_, index) => index);
    this.slots = new Map(this.classes.map((index, slot) => [index, slot]));
    this.sum = kept.sum ?? null;
    this.ranks = new Map();
    this.labels = kept.labels ?? []; // of the image, where it has any
  }

  // As a page of photos keeps it: each class's cells between its own lowest and highest.
  static ofShort(head, answer) {
    const { values } = answer;
    const [levels, low, step] = [new Uint16Array(bytesOf(values.levels).buffer), floatsOf(values.low), floatsOf(values.step)];
    return new Answer(head, answer, {
      classes: values.classes,
      values: logitsOf(levels, answer.grid[0] * answer.grid[1], (slot) => low[slot], (slot) => step[slot], true),
      error: values.error,
      bestKept: values.best_kept,
      logits: floatsOf(values.logits),
      sums: floatsOf(values.lse),
      winners: new Int32Array(bytesOf(values.winners).buffer),
    });
  }

  // As a report keeps it, see `keptOfMaps`; `own` gives the head's number of a class of the report.
  static ofMaps(head, image, own) {
    return new Answer(head, { ...image, grid: image.shape }, keptOfMaps(image, own));
  }

  get isWhole() {
    return this.classes.length === this.head.classes;
  }

  // Whether the image's own logits are those of all classes, and not of those alone whose cells are kept.
  get hasAll() {
    return this.sum === null || this.isWhole;
  }

  has(index) {
    return this.slots.has(index);
  }

  // The logits of a class in all cells; null where the page has not got them.
  plane(index) {
    const slot = this.slots.get(index);
    return slot === undefined ? null : this.values.subarray(slot * this.cells, (slot + 1) * this.cells);
  }

  level(index) {
    const { levels } = this.head;
    return levels.length > 1 ? levels[index] : (levels[0] ?? 0);
  }

  // What the model's own activation makes of a logit, among logits whose log-sum-exp is known; null where it has none.
  score(logit, sum) {
    if (this.head.activation === "sigmoid") return 1 / (1 + Math.exp(-logit));
    return this.head.activation === "softmax" ? Math.min(1, Math.exp(logit - sum)) : null;
  }

  // Classes with a logit each, the highest first; of several at once, by how far each is above its threshold.
  ranked(classes, logitOf) {
    const found = classes.map((index, slot) => {
      const logit = logitOf(index, slot);
      return { index, logit, above: logit - this.level(index) };
    });
    const order = (value) => (Number.isNaN(value) ? -Infinity : value);
    return found.sort((a, b) => order(b.above) - order(a.above) || a.index - b.index);
  }

  withScores(ranking, sum) {
    for (const entry of ranking) entry.score = this.score(entry.logit, sum);
    return ranking;
  }

  // All classes of a cell; with `most`, the first ones alone, which is what can be said while a pointer moves.
  cellRanking(cell, most = Infinity) {
    const logitOf = (slot) => this.values[slot * this.cells + cell];
    const classes = most < this.classes.length ? this.leading(logitOf, most) : this.classes;
    return this.withScores(this.ranked(classes, (index) => logitOf(this.slots.get(index))), this.sums[cell]);
  }

  // The classes that are furthest above their level, of equal ones those of lower numbers.
  leading(logitOf, most) {
    const found = []; // the best so far, the last of them last
    const above = [];
    for (let slot = 0; slot < this.classes.length; slot += 1) {
      const value = logitOf(slot) - this.level(this.classes[slot]);
      if (found.length === most && !(value > above[most - 1])) continue;
      let place = found.length;
      while (place > 0 && value > above[place - 1]) place -= 1;
      found.splice(place, 0, this.classes[slot]);
      above.splice(place, 0, Number.isNaN(value) ? -Infinity : value);
      if (found.length > most) {
        found.pop();
        above.pop();
      }
    }
    return found;
  }

  // Classes by an aggregator of some cells, or of all; the model's own is exact and has all classes.
  ranking(key, cells = null) {
    if (!key && cells === null) {
      if (!this.ranks.has("")) {
        const all = this.sum === null ? Array.from(this.logits, (_, index) => index) : this.classes;
        this.ranks.set("", this.withScores(this.ranked(all, (_, slot) => this.logits[slot]), this.imageSum()));
      }
      return this.ranks.get("");
    }
    if (cells === null && this.ranks.has(key)) return this.ranks.get(key);
    const pool = poolOf(key || "mean");
    const some = cells && new Float64Array(cells.length);
    const planeOf = (slot) => {
      const plane = this.values.subarray(slot * this.cells, (slot + 1) * this.cells);
      if (!cells) return plane;
      cells.forEach((cell, place) => (some[place] = plane[cell]));
      return some;
    };
    const found = this.ranked(this.classes, (_, slot) => pool(planeOf(slot)));
    if (cells === null) this.ranks.set(key, found);
    return found;
  }

  imageSum() {
    if (this.sum !== null) return this.sum;
    const top = this.logits.reduce((most, value) => Math.max(most, value), -Infinity);
    return top + Math.log(this.logits.reduce((sum, value) => sum + Math.exp(value - top), 0));
  }

  // Of each class: its best cell, that logit, and the cells that it wins.
  get best() {
    if (!this.found) {
      const won = new Map();
      for (const index of this.winners) won.set(index, (won.get(index) ?? 0) + 1);
      this.found = new Map(
        this.classes.map((index) => {
          const plane = this.plane(index);
          const cell = plane.reduce((best, value, at) => (value > plane[best] ? at : best), 0);
          return [index, { cell, logit: plane[cell], won: won.get(index) ?? 0 }];
        }),
      );
      this.won = [...won].filter(([index]) => index >= 0).sort((a, b) => b[1] - a[1] || a[0] - b[0]);
      this.unwon = won.get(-1) ?? 0;
    }
    return this.found;
  }

  // The cells of a rectangle [row, column, row, column], both corners in it, and the others.
  parts([row0, column0, row1, column1]) {
    const [inside, outside] = [[], []];
    for (let cell = 0; cell < this.cells; cell += 1) {
      const [row, column] = [Math.floor(cell / this.columns), cell % this.columns];
      (row >= row0 && row <= row1 && column >= column0 && column <= column1 ? inside : outside).push(cell);
    }
    return { inside, outside };
  }

  name(index) {
    return nameIn(this.head, index);
  }
}

// A class by its name in a head; a feature has none.
function nameIn(head, index) {
  const name = head.names && head.names[index];
  return name ? name : `${head.features ? "feature" : "class"} ${index}`;
}

// Of synonyms ("tench, Tinca tinca") the first, where no other class has it.
function shortIn(head, index) {
  if (!head.names) return nameIn(head, index);
  head.firsts ??= head.names.reduce((counts, name) => {
    const first = String(name).split(", ")[0].trim();
    return counts.set(first, (counts.get(first) ?? 0) + 1);
  }, new Map());
  const first = String(nameIn(head, index)).split(", ")[0].trim();
  return first && head.firsts.get(first) === 1 ? first : nameIn(head, index);
}

// A logit as it is printed.
function shown(value) {
  if (Number.isNaN(value)) return "not finite";
  return (Number.isFinite(value) ? value.toFixed(2) : value > 0 ? "∞" : "-∞").replace("-", "−");
}
