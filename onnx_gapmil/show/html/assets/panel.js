// What is said of an image or of one of its cells, and the explorer that ties it to the photo.

const CAUSES = {
  dilution: "The right class wins cells on the object, but too few, or it shares the object with the class answered.",
  distraction: "The right class wins cells on the object, but is outvoted: most cells of the class answered lie elsewhere.",
  absent: "No cell on the object has the right class on top; pooling is not to blame.",
};

class Panel {
  constructor(image, count, onClass) {
    this.image = image;
    this.title = make("p", { class: "panel-title" });
    this.list = make("ol", { class: "ranking" });
    this.rest = make("p", { class: "rest soft" });
    this.element = make("div", { class: "panel" }, this.title, this.list, this.rest);
    this.rows = Array.from({ length: count }, () => this.row(onClass));
  }

  row(onClass) {
    const row = {
      name: make("span", { class: "name" }),
      truth: make("span", { class: "truth-mark" }, "label"),
      fill: make("span", { class: "fill" }),
      value: make("span", { class: "value" }),
      index: null,
    };
    row.button = make(
      "button",
      { type: "button" },
      make("span", { class: "label" }, row.name, row.truth),
      row.value,
      make("span", { class: "track" }, row.fill),
    );
    row.button.addEventListener("click", () => onClass(row.index));
    row.item = make("li", {}, row.button);
    this.list.append(row.item);
    return row;
  }

  fill(title, ranking, rest) {
    this.title.replaceChildren(...title);
    this.rows.forEach((row, place) => {
      const entry = ranking[place];
      row.item.hidden = !entry;
      if (!entry) return;
      row.index = entry.index;
      row.name.textContent = nameOf(entry.index);
      row.truth.hidden = !this.image.labels.includes(entry.index);
      row.value.textContent = percent(entry.share);
      row.fill.style.width = `${100 * entry.share}%`;
      const mapped = (this.image.classes || []).includes(entry.index) && Boolean(this.image.grid);
      row.button.disabled = !mapped;
      row.button.title = mapped ? `Map of ${nameOf(entry.index)}` : "";
    });
    this.rest.textContent = rest === null ? "" : `all other classes ${percent(rest)}`;
  }

  press(index) {
    for (const row of this.rows) row.button.setAttribute("aria-pressed", String(row.index === index && index !== null));
  }
}

// A photo and its panel: which cell is looked at, which one is kept, whose map is on.
class Explorer {
  constructor(image, { room, count, onMap = () => {} }) {
    this.image = image;
    this.stage = this.makeStage(image, room);
    this.grid = this.stage.grid;
    this.panel = new Panel(image, count, (index) => this.toggleMap(index));
    this.count = count;
    this.onMap = onMap;
    this.kept = null;
    this.map = null;
    this.legend = this.makeLegend();
    this.element = this.stage.element;
    this.look(null);
    if (this.grid) this.listen();
  }

  makeStage(image, room) {
    return new Stage(image, room);
  }

  makeLegend() {
    this.legendName = make("span", { class: "legend-name" });
    const ends = this.grid ? [this.grid.low, this.grid.high].map((value) => value.toFixed(1)) : ["", ""];
    return make(
      "p",
      { class: "map-legend off" },
      this.legendName,
      make("span", {}, ends[0]),
      make("span", { class: "scale", title: "logit" }),
      make("span", {}, ends[1]),
    );
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
    if (this.grid) this.stage.mark(cell, cell !== null && cell === this.kept);
  }

  title(cell) {
    const [row, column] = [Math.floor(cell / this.grid.columns) + 1, (cell % this.grid.columns) + 1];
    const on = (this.image.foreground || []).includes(cell);
    return [`Cell in row ${row}, column ${column}`, on ? make("span", { class: "on-object" }, "on the object") : ""];
  }

  say(cell) {
    const best = this.grid.ranking(cell).slice(0, 3);
    const words = best.map((entry) => `${nameOf(entry.index)} ${percent(entry.share)}`).join(", ");
    announce(`${this.panel.title.textContent}: ${words}`);
  }

  keep(cell) {
    this.kept = cell === this.kept ? null : cell;
    this.look(cell);
  }

  toggleMap(index) {
    this.setMap(index === this.map ? null : index);
  }

  setMap(index) {
    const possible = index !== null && this.grid && this.grid.classes.includes(index);
    this.map = possible ? index : null;
    if (this.grid) this.stage.show(this.map);
    this.legend.classList.toggle("off", this.map === null);
    this.legendName.textContent = this.map === null ? "" : nameOf(this.map);
    this.panel.press(this.map);
    this.onMap(this.map);
  }

  listen() {
    const element = this.element;
    element.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch") this.look(this.stage.at(event.clientX, event.clientY) ?? this.kept);
    });
    element.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch") this.look(this.kept);
    });
    element.addEventListener("click", (event) => {
      const cell = this.stage.at(event.clientX, event.clientY);
      if (cell !== null) this.keep(cell);
    });
    element.addEventListener("focus", () => {
      if (element.matches(":focus-visible") && this.stage.cell === null) this.look(this.kept ?? this.middle());
    });
    element.addEventListener("blur", () => this.look(this.kept));
    element.addEventListener("keydown", (event) => this.key(event));
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
    } else if (event.key === "Enter" || event.key === " ") {
      this.keep(cell);
      announce(this.kept === null ? "Cell no longer kept" : "Cell kept");
    } else if (event.key === "Escape" && this.kept !== null) {
      this.kept = null;
      this.look(null);
    } else return;
    event.preventDefault();
  }
}
