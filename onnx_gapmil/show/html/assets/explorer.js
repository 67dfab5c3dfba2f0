const OPENS = "Enter opens the photo with that cell kept.";

// A photo and its panel in a list of many: which cell is looked at, whose map is on. A click opens it at large.
class Explorer {
  // `onOpen(cell)` is called by a click, with null where there is no cell.
  constructor(image, { room, count, onOpen, onMap = () => {} }) {
    this.onOpen = onOpen;
    this.stage = this.makeStage(image, room);
    this.element = this.stage.element;
    this.panel = new Panel(image, count, (index) => this.toggleMap(index));
    this.count = count;
    this.onMap = onMap;
    this.makeLegend();
    this.listen();
    this.bind(image);
  }

  makeStage(image, room) {
    return new Stage(image, room, OPENS);
  }

  // Show another image: nothing of the last one stays.
  bind(image) {
    this.image = image;
    if (this.stage.image !== image) this.stage.bind(image);
    this.grid = this.stage.grid;
    this.panel.image = image;
    this.map = null;
    this.cut = null;
    this.maps = new Map();
    this.look(null);
    this.setMap(null);
  }

  makeLegend() {
    this.legendName = make("span", { class: "legend-name" });
    this.ends = [make("span", { class: "end" }), make("span", { class: "end" })];
    this.zero = make("span", { class: "zero", title: "0" });
    this.scale = make("span", { class: "scale", title: "logit" }, this.zero);
    this.legend = make("p", { class: "map-legend off" }, this.legendName, this.ends[0], this.scale, this.ends[1]);
  }

  // Show a cell, or the whole image where there is none.
  look(cell) {
    if (cell === null) {
      const ranking = (this.image.prediction || []).map(([index, share]) => ({ index, share }));
      this.panel.fill(["Whole image"], ranking.slice(0, this.count), null);
    } else {
      const ranking = this.grid.ranking(cell).slice(0, this.count);
      const sum = ranking.reduce((total, entry) => total + entry.share, 0);
      const rest = this.grid.activation === "sigmoid" ? null : Math.max(0, 1 - sum);
      this.panel.fill(this.title(cell), ranking, rest);
    }
    this.panel.press(this.map);
    if (this.grid) this.stage.mark(cell, false);
  }

  title(cell) {
    const [row, column] = [Math.floor(cell / this.grid.columns), cell % this.grid.columns]; // from 0, as best_cell
    const on = (this.image.foreground || []).includes(cell);
    return [`Cell in row ${row}, column ${column}`, on ? make("span", { class: "on-object" }, "on the object") : ""];
  }

  say(cell) {
    const best = this.grid.ranking(cell).slice(0, 3);
    const words = best.map((entry) => `${nameOf(entry.index)} ${percent(entry.share)}`).join(", ");
    announce(`${this.panel.title.textContent}: ${words}`);
  }

  toggleMap(index) {
    this.setMap(index === this.map ? null : index);
  }

  // A class, a pair of classes for their difference, or null.
  setMap(wanted) {
    const map = mapOf(this.grid, wanted);
    this.map = map ? wanted : null;
    this.stage.showMap(map);
    this.setLegend(map);
    this.panel.press(this.map);
    this.cutBoxes(this.cut);
    this.onMap(this.map);
  }

  setLegend(map) {
    this.legend.classList.toggle("off", map === null);
    this.legend.classList.toggle("signed", map !== null && map.scale === "differences");
    const classes = map === null ? [] : [this.map].flat();
    this.legendName.replaceChildren(...classes.flatMap((index, place) => (place ? [" − ", isolated(nameOf(index))] : [isolated(nameOf(index))])));
    this.legendName.title = classes.map(nameOf).join(" − ");
    if (map === null) return;
    this.ends[0].textContent = map.low.toFixed(1).replace("-", "−");
    this.ends[1].textContent = map.high.toFixed(1).replace("-", "−");
    this.zero.hidden = map.low >= 0 || map.high <= 0;
    this.zero.style.left = `${(-100 * map.low) / (map.high - map.low)}%`;
  }

  // The boxes of the class whose map is on, at a threshold; none without.
  cutBoxes(threshold) {
    this.cut = threshold;
    const index = Array.isArray(this.map) ? this.map[0] : this.map;
    this.found = [];
    if (threshold !== null && index !== null && this.grid) {
      if (!this.maps.has(index)) this.maps.set(index, scoreMap(this.grid.plane(index), this.grid.rows, this.grid.columns));
      this.found = contourBoxes(this.maps.get(index), threshold);
    }
    this.stage.showFound(this.found);
  }

  // How well the best of them fits a box of the label's object: their intersection over union; null without either.
  bestOverlap() {
    const own = (this.image.boxes || []).filter((_, place) => !this.stage.isOther(place));
    const objects = boxesOnMap(own, this.stage.window);
    if (!this.found.length || !objects.length) return null;
    return Math.max(...this.found.flatMap((box) => objects.map((object) => overlapOf(box, object))));
  }

  listen() {
    const element = this.element;
    element.addEventListener("pointermove", (event) => {
      if (!this.grid || event.pointerType === "touch") return;
      const cell = this.stage.at(event.clientX, event.clientY);
      if (cell !== this.stage.cell) this.look(cell);
    });
    element.addEventListener("pointerleave", (event) => {
      if (this.grid && event.pointerType !== "touch") this.look(null);
    });
    element.addEventListener("click", (event) => this.onOpen(this.grid && this.stage.at(event.clientX, event.clientY)));
    element.addEventListener("focus", () => {
      if (this.grid && element.matches(":focus-visible") && this.stage.cell === null) this.look(this.middle());
    });
    element.addEventListener("blur", () => this.look(null));
    element.addEventListener("keydown", (event) => {
      if (this.grid) this.key(event);
    });
  }

  middle() {
    return Math.floor((this.grid.rows - 1) / 2) * this.grid.columns + Math.floor((this.grid.columns - 1) / 2);
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const { rows, columns } = this.grid;
    const cell = this.stage.cell ?? this.middle();
    const [row, column] = [Math.floor(cell / columns), cell % columns];
    const moves = {
      ArrowLeft: () => row * columns + Math.max(0, column - 1),
      ArrowRight: () => row * columns + Math.min(columns - 1, column + 1),
      ArrowUp: () => Math.max(0, row - 1) * columns + column,
      ArrowDown: () => Math.min(rows - 1, row + 1) * columns + column,
      Home: () => row * columns,
      End: () => row * columns + columns - 1,
    };
    if (moves[event.key]) {
      const target = moves[event.key]();
      this.look(target);
      this.say(target);
    } else if (event.key === "Enter" || event.key === " ") this.onOpen(cell);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
