// One model's view of the photo: the photo itself, what is said of the place that is pointed at, and of the whole.
class ModelView {
  // `on` has what the page does: point(place), keep(cell), choose(rectangle), toggle(index); `columns` is how many views
  // lie beside each other, `title` [word, name] that this one is called, null where there is no other, `part` what its files end in.
  constructor(model, on, { columns, title, part = "" }) {
    Object.assign(this, { model, on, columns, part, words: title });
    this.answer = null;
    this.here = new Reading("", on.toggle);
    this.whole = new Reading("", on.toggle);
    this.frame = make("div", { class: "photo-frame" });
    this.makeLegend();
    this.title = title && make("p", { class: "view-title" }, ...this.titleNodes());
    this.note = make("p", { class: "soft photo-note" });
    this.line = make("p", { class: "line" });
    this.photoSide = make("div", { class: "photo-side" }, this.title, this.frame, this.legend, this.line, this.note);
    this.readings = make("div", { class: "readings" }, this.here.element, this.whole.element);
    this.element = make("div", { class: "view" }, this.photoSide, this.readings);
  }

  titleNodes() {
    const [word, name] = this.words;
    return [make("span", { class: "soft" }, `${word} `), isolated(name)];
  }

  // The same as one text, for a list to choose from.
  get called() {
    return this.words ? this.words.join(" ") : this.model.name;
  }

  makeLegend() {
    this.ends = [make("span", { class: "end" }), make("span", { class: "end" })];
    this.zero = make("span", { class: "zero", title: "0" });
    this.scale = make("span", { class: "scale" }, this.zero);
    this.legendName = make("span", { class: "legend-name" });
    this.legend = make("div", { class: "map-legend" });
  }

  // The room for a photo: the width of its column, and what a window has below the header.
  get room() {
    const width = this.frame.clientWidth - 2 * parseFloat(getComputedStyle(this.frame).paddingLeft) || 640;
    return Math.max(160, Math.min(width, this.columns > 1 ? 560 : 760, Math.max(380, window.innerHeight - 300)));
  }

  show(photo, answer) {
    this.photo = photo;
    this.answer = answer;
    this.describe();
    if (this.stage) this.stage.show(photo, answer);
    else {
      this.stage = new Photo(photo, answer, this.room);
      this.frame.append(this.stage.element);
      this.listen();
    }
    this.stage.fit(this.room);
  }

  // What stands below the photo, whatever is pointed at.
  describe() {
    const { answer, photo } = this;
    const note = photo.note ?? "";
    this.note.textContent = answer.head.arranged ? note : `Where the cells of this head look is not known, so nothing is drawn on the photo. ${note}`;
    this.line.replaceChildren(...lineOf(this.model, answer));
  }

  // What a picture of it says of its origin.
  get origin() {
    return [`${this.model.name}, ${this.answer.head.verdict} head`, this.model.guess];
  }

  mapOf(wanted) {
    return overlayOf(this.answer, wanted);
  }

  // Everything that follows from the page's state.
  render({ wanted, rectangle, cell, pool, smooth, opacity, cut, selecting }) {
    this.state = { rectangle, cell, pool };
    this.map = this.mapOf(wanted);
    this.stage.lay_(this.map, { smooth, opacity });
    this.stage.element.classList.toggle("selecting", selecting);
    this.stage.choose(rectangle);
    this.boxes = cut !== null && this.map && this.map.classes.length ? contourBoxes(scoreMap(this.answer.plane(this.map.classes[0]), this.answer.rows, this.answer.columns), cut) : [];
    this.stage.showFound(this.boxes);
    this.renderLegend(wanted);
    this.renderWhole();
    this.look(cell);
    const index = wanted ? (wanted.index ?? null) : null;
    for (const reading of [this.here, this.whole]) reading.press(index);
  }

  renderLegend(wanted) {
    const { map, answer } = this;
    this.legend.classList.toggle("signed", map !== null && map.kind === "differences");
    if (map === null) {
      this.legend.replaceChildren(make("span", { class: "legend-name" }, wanted && answer.head.arranged ? this.missing(wanted) : ""));
      return;
    }
    if (map.kind === "winners") {
      this.legend.replaceChildren(...this.winnersLegend());
      return;
    }
    this.legendName.replaceChildren(...map.classes.flatMap((index, at) => [at ? " − " : "", isolated(shortIn(answer.head, index))]));
    this.ends[0].textContent = shown(map.low);
    this.ends[1].textContent = shown(map.high);
    this.zero.hidden = map.low >= 0 || map.high <= 0;
    this.zero.style.left = `${(-100 * map.low) / (map.high - map.low || 1)}%`;
    this.scale.title = map.kind === "differences" ? "difference of the logits" : "logit";
    this.legend.replaceChildren(this.legendName, this.ends[0], this.scale, this.ends[1]);
  }

  // Why a map that is wanted is not there.
  missing() {
    return "This page does not keep that class's cells.";
  }

  winnersLegend() {
    const { answer } = this;
    const item = (colour, name, cells) => {
      const swatch = make("span", { class: "swatch" });
      swatch.style.background = colour;
      return make("span", { class: "winner" }, swatch, name, make("span", { class: "soft" }, ` ${plural(cells, "cell")}`));
    };
    const { colours } = this.map;
    const coloured = answer.won.filter(([index]) => colours.has(index));
    const others = answer.won.filter(([index]) => !colours.has(index));
    const rest = others.reduce((sum, [, cells]) => sum + cells, 0);
    return [
      ...coloured.map(([index, cells]) => item(colours.get(index), isolated(shortIn(answer.head, index)), cells)),
      others.length ? item(data.other, plural(others.length, "other class", "other classes"), rest) : null,
      answer.unwon ? item("transparent", "nobody", answer.unwon) : null,
    ].filter(Boolean);
  }

  renderWhole() {
    const { answer } = this;
    const { pool } = this.state;
    const ranking = answer.ranking(pool);
    const own = answer.ranking("");
    const by = pool ? `by ${poolName(pool)}` : `by the model's own ${poolName(answer.head.pool)}`;
    this.whole.fill(answer, {
      title: "Whole image",
      note: [by, ...(pool ? [". ", ...ownText(answer, ranking, own)] : [])],
      ranking: ranking.slice(0, LISTED),
      after: [...[presentText(answer, ranking)].flat(), pool || !answer.hasAll ? ` ${keptText(answer)}` : ""],
    });
  }

  // What is said of a cell; of the chosen rectangle, or of none, where nothing is pointed at.
  look(cell) {
    const { answer, state } = this;
    this.looked = cell;
    this.stage.mark(answer.head.arranged ? cell : null, cell !== null && cell === state.cell);
    if (cell !== null) {
      const ranking = answer.cellRanking(cell, answer.head.reading === "multi-label" ? Infinity : LISTED);
      const [row, column] = [Math.floor(cell / answer.columns), cell % answer.columns];
      this.here.fill(answer, {
        title: [`Cell in row ${row}, column ${column}`],
        note: cell === state.cell ? "kept; click it again to let go" : "",
        ranking: ranking.slice(0, LISTED),
        after: [...[presentText(answer, ranking)].flat(), answer.bestKept && answer.head.reading !== "multi-label" ? "" : ` ${keptText(answer)}`],
      });
    } else if (state.rectangle) this.lookAtRectangle(state.rectangle);
    else this.here.fill(answer, { title: "Here", note: answer.head.arranged ? "Point at a cell of the photo, tap it, or use the arrow keys. Click to keep it; drag a rectangle for the mean of its cells." : "" });
  }

  lookAtRectangle(rectangle) {
    const { answer } = this;
    const { inside, outside } = answer.parts(rectangle);
    const [row0, column0, row1, column1] = rectangle;
    const others = outside.length ? answer.ranking(this.state.pool || "mean", outside) : [];
    const pool = poolName(this.state.pool || "mean");
    const named = others.slice(0, 3).flatMap(({ index, logit }, at) => [at ? ", " : "", isolated(shortIn(answer.head, index)), ` ${shown(logit)}`]);
    this.here.fill(answer, {
      title: `Rows ${row0} to ${row1}, columns ${column0} to ${column1}`,
      note: `mean of ${plural(inside.length, "cell")}`,
      ranking: answer.ranking("mean", inside).slice(0, LISTED),
      after: outside.length ? [make("span", { class: "without" }, `Without them, the other ${plural(outside.length, "cell")} by ${pool}: `, ...named, "."), ` No new run of the model: it still saw the whole photo. ${keptText(answer)}`] : "All cells.",
    });
  }

  say(cell) {
    const best = this.answer.cellRanking(cell, 3);
    announce(`${this.here.title.textContent}: ${best.map(({ index, logit }) => `${shortIn(this.answer.head, index)} ${shown(logit)}`).join(", ")}`);
  }

  listen() {
    const { element } = this.stage;
    let start = null; // where a drag began: a cell and a point
    const at = (event) => this.stage.grid && this.stage.at(event.clientX, event.clientY);
    const nearest = (event) => {
      const area = element.getBoundingClientRect();
      const inside = (value, low, high) => Math.min(high - 1, Math.max(low + 1, value));
      return this.stage.at(inside(event.clientX, area.left, area.right), inside(event.clientY, area.top, area.bottom));
    };
    element.addEventListener("pointerdown", (event) => {
      const drags = event.pointerType !== "touch" || element.classList.contains("selecting");
      if (!this.stage.grid || event.button || !drags || at(event) === null) return;
      start = { cell: at(event), x: event.clientX, y: event.clientY, moved: false };
      element.setPointerCapture(event.pointerId);
    });
    const move = (event) => {
      if (!this.stage.grid) return;
      if (start) {
        start.moved ||= Math.hypot(event.clientX - start.x, event.clientY - start.y) > 6;
        const cell = nearest(event);
        if (start.moved && cell !== null) this.dragged = this.drag(start.cell, cell);
      } else if (event.pointerType !== "touch") {
        const cell = at(event);
        if (cell === null || cell !== this.looked) this.on.point(this, cell);
      }
    };
    // A mouse may send many moves in one frame, of which the last is what is seen: where it is, is read before anything
    // is written, and once.
    let next = null;
    element.addEventListener("pointermove", (event) => {
      const asked = next !== null;
      next = event;
      if (!asked) requestAnimationFrame(moveNow);
    });
    const moveNow = () => {
      const event = next;
      next = null;
      if (event !== null) move(event);
    };
    element.addEventListener("pointerup", () => {
      moveNow();
      if (start && start.moved && this.dragged) this.on.choose(this, this.dragged);
      this.suppress = Boolean(start && start.moved);
      start = this.dragged = null;
    });
    element.addEventListener("pointercancel", () => {
      start = this.dragged = null;
    });
    element.addEventListener("pointerleave", (event) => {
      next = null;
      if (this.stage.grid && !start && event.pointerType !== "touch") this.on.point(this, null);
    });
    element.addEventListener("click", (event) => {
      const cell = at(event);
      if (!this.suppress && this.stage.grid && cell !== null) this.on.keep(this, cell);
      this.suppress = false;
    });
    element.addEventListener("dragstart", (event) => event.preventDefault());
    element.addEventListener("focus", () => {
      if (this.stage.grid && element.matches(":focus-visible") && this.looked === null) this.on.point(this, this.state.cell ?? this.middle());
    });
    element.addEventListener("blur", () => this.on.point(this, null));
    element.addEventListener("keydown", (event) => {
      if (this.stage.grid) this.key(event);
    });
  }

  // Show a rectangle while it is dragged.
  drag(from, to) {
    const rectangle = rectangleOf(from, to, this.answer.columns);
    this.stage.choose(rectangle);
    this.stage.mark(null, false);
    this.lookAtRectangle(rectangle);
    return rectangle;
  }

  middle() {
    return Math.floor((this.answer.rows - 1) / 2) * this.answer.columns + Math.floor((this.answer.columns - 1) / 2);
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const { rows, columns } = this.answer;
    const cell = this.looked ?? this.corner ?? this.state.cell ?? this.middle();
    const [row, column] = [Math.floor(cell / columns), cell % columns];
    const moves = { ArrowLeft: [row, Math.max(0, column - 1)], ArrowRight: [row, Math.min(columns - 1, column + 1)], ArrowUp: [Math.max(0, row - 1), column], ArrowDown: [Math.min(rows - 1, row + 1), column], Home: [row, 0], End: [row, columns - 1] };
    const move = moves[event.key];
    if (move) {
      const target = move[0] * columns + move[1];
      if (event.shiftKey) this.stretch(cell, target);
      else {
        this.anchor = this.corner = null;
        this.on.point(this, target);
        this.say(target);
      }
    } else if (event.key === "Enter" || event.key === " ") {
      this.on.keep(this, cell);
      announce(this.state.cell === null ? "Cell no longer kept" : "Cell kept");
    } else if (event.key === "Escape") {
      this.anchor = this.corner = null;
      this.on.letGo(this);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // Choose a rectangle by keyboard, from where Shift was first held.
  stretch(cell, target) {
    this.anchor ??= cell;
    this.corner = target;
    this.on.choose(this, rectangleOf(this.anchor, target, this.answer.columns));
    announce(`${this.here.title.textContent}, ${this.here.note.textContent}`);
  }
}

// What the model itself answers, where another aggregator does otherwise.
function ownText(answer, ranking, own) {
  if (answer.head.reading === "multi-label") {
    const present = own.filter((entry) => entry.above > 0);
    const names = present.slice(0, 5).flatMap((entry, at) => [at ? ", " : "", isolated(shortIn(answer.head, entry.index))]);
    return present.length ? ["By the model itself pass: ", ...names, present.length > 5 ? " and more." : "."] : ["By the model itself no class passes."];
  }
  return ranking[0].index === own[0].index ? [] : ["The model itself answers ", isolated(shortIn(answer.head, own[0].index)), "."];
}

function rectangleOf(from, to, columns) {
  const [row0, row1] = [from, to].map((cell) => Math.floor(cell / columns)).sort((a, b) => a - b);
  const [column0, column1] = [from, to].map((cell) => cell % columns).sort((a, b) => a - b);
  return [row0, column0, row1, column1];
}
