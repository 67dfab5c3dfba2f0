// Share of a cell by which the edges of two models' cells may differ and be the same, as in `compare`.
const SAME_CELLS = 0.02;

// What changed between two models' evidence on the places that both see: new less old, as a report keeps it or as two
// answers say it.
class ChangeAnswer extends Answer {
  // The head is the old model's, whose numbers the classes have.
  static of(head, image) {
    const found = new ChangeAnswer({ ...head, arranged: true, reading: "change" }, { ...image, placeless: null }, keptOfMaps(image));
    return Object.assign(found, { logits: null, moved: image.moved });
  }

  // Of two answers on the same cells; null where their cells are others. `link` gives the new one's class of the old one's.
  static between(before, after, link) {
    const arranged = before.head.arranged && after.head.arranged;
    if (!arranged || before.rows !== after.rows || before.columns !== after.columns) return null;
    const cell = [before.columns, before.rows].map((count, axis) => (before.window[axis + 2] - before.window[axis]) / count);
    if (before.window.some((edge, place) => Math.abs(edge - after.window[place]) > SAME_CELLS * cell[place % 2])) return null;
    const classes = before.classes.filter((index) => link(index) !== null && after.has(link(index)));
    if (!classes.length) return null;
    const values = new Float32Array(classes.length * before.cells);
    classes.forEach((index, slot) => {
      const [one, other] = [before.plane(index), after.plane(link(index))];
      for (let at = 0; at < before.cells; at += 1) values[slot * before.cells + at] = other[at] - one[at];
    });
    const kept = { classes, values, error: before.error + after.error, bestKept: false, logits: null, sum: null, sums: new Float32Array(0), winners: new Int32Array(0) };
    return new ChangeAnswer({ ...before.head, reading: "change" }, { grid: [before.rows, before.columns], window: before.window, placeless: null }, kept);
  }

  // Classes by how far their evidence moved in these cells, whichever way.
  moves(cells) {
    const found = this.classes.map((index) => {
      const plane = this.plane(index);
      return { index, logit: cells.reduce((sum, cell) => sum + plane[cell], 0) / cells.length };
    });
    return found.sort((a, b) => Math.abs(b.logit) - Math.abs(a.logit) || a.index - b.index);
  }
}

class ChangeView extends ModelView {
  constructor(models, on, { columns, evidence }) {
    super(models[0], on, { columns, title: ["Change", "new less old"], part: "_change" });
    Object.assign(this, { models, evidence });
    this.element.classList.add("change");
  }

  show(photo, answer) {
    if (answer === null) this.answer = null;
    else super.show(photo, answer);
  }

  describe() {
    this.note.textContent = this.evidence;
    this.line.replaceChildren("On the places that both models see.");
  }

  get origin() {
    return [`${this.models[1].name} less ${this.models[0].name}, on their common places`, ...this.models.map((model) => model.guess && `${model.name}: ${model.guess}`)];
  }

  mapOf(wanted) {
    if (!wanted || wanted.winners) return null;
    if (wanted.index === undefined) return differenceMap(this.answer, wanted.first, wanted.second);
    const plane = this.answer.plane(wanted.index);
    if (!plane) return null;
    const most = plane.reduce((top, value) => Math.max(top, Math.abs(value)), 0) || 1;
    return { kind: "differences", classes: [wanted.index], plane, low: -most, high: most };
  }

  missing(wanted) {
    return wanted.winners ? "Winners have no difference: choose a class." : "This page does not keep that class's change.";
  }

  // A change has no boxes of its own.
  render(how) {
    super.render({ ...how, cut: null });
  }

  renderWhole() {
    const { moved } = this.answer;
    this.whole.element.hidden = moved === undefined; // two answers alone do not say
    if (moved === undefined) return;
    const said = moved === null ? "How much of it moved is not known." : `${percent(moved)} of the evidence for the answer lies in other cells.`;
    this.whole.fill(this.answer, { title: "Whole image", note: said });
  }

  look(cell) {
    const { answer, state } = this;
    this.looked = cell;
    this.stage.mark(cell, cell !== null && cell === state.cell);
    if (cell !== null) {
      const [row, column] = [Math.floor(cell / answer.columns), cell % answer.columns];
      this.tell([`Cell in row ${row}, column ${column}`], cell === state.cell ? "kept; click it again to let go" : "", [cell]);
    } else if (state.rectangle) this.lookAtRectangle(state.rectangle);
    else this.here.fill(answer, { title: "Here", note: "Point at a cell of any of the three: all look at the same place." });
  }

  lookAtRectangle(rectangle) {
    const { inside } = this.answer.parts(rectangle);
    const [row0, column0, row1, column1] = rectangle;
    this.tell(`Rows ${row0} to ${row1}, columns ${column0} to ${column1}`, `mean of ${plural(inside.length, "cell")}`, inside);
  }

  tell(title, note, cells) {
    const kept = `The classes that moved furthest, of the ${this.answer.classes.length.toLocaleString("en")} that this page keeps.`;
    this.here.fill(this.answer, { title, note, ranking: this.answer.moves(cells).slice(0, LISTED), after: kept, signed: true });
  }

  say(cell) {
    const best = this.answer.moves([cell]).slice(0, 3);
    announce(`${this.here.title.textContent}: change of ${best.map(({ index, logit }) => `${shortIn(this.answer.head, index)} ${shown(logit)}`).join(", ")}`);
  }
}
