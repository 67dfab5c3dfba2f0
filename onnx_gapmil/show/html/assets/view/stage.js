// A large photo that can be pointed at: what lies on it, the cell that is looked at, the rectangle that is dragged.
class Photo extends Stage {
  constructor(photo, answer, room) {
    super(Photo.imageOf(photo, answer), room);
    this.chosen = draw("path", { class: "chosen" });
    this.svg.insertBefore(draw("path", { class: "chosen under" }), this.cursor);
    this.svg.insertBefore(this.chosen, this.cursor);
    this.badge = make("span", { class: "badge", hidden: true }, "interpolated, not measured");
    this.element.append(this.badge);
  }

  static imageOf(photo, answer) {
    const known = answer.head.arranged;
    const image = { ...photo, labels: photo.labels ?? [], window: answer.window, grid: known ? [answer.rows, answer.columns] : null, classes: answer.classes };
    if (known) grids.set(image, answer);
    return image;
  }

  show(photo, answer) {
    this.bind(Photo.imageOf(photo, answer));
  }

  setRole() {
    super.setRole();
    if (!this.grid) return;
    const { rows, columns } = this.grid;
    this.element.setAttribute("aria-label", `${this.image.name}, ${rows} by ${columns} cells. Arrow keys move from cell to cell, Enter keeps one, Shift and arrows choose a rectangle, Escape lets go.`);
  }

  // A map over the photo, or none.
  lay_(map, { smooth, opacity }) {
    this.canvas.hidden = map === null;
    this.canvas.style.opacity = String(opacity);
    this.canvas.classList.toggle("smooth", smooth);
    this.badge.hidden = map === null || !smooth;
    this.element.classList.toggle("mapped", map !== null);
    if (map !== null) paintMap(this.canvas, this.grid, map);
  }

  // A rectangle of cells [row, column, row, column], or null.
  choose(rectangle) {
    let shape = "";
    if (rectangle) {
      const [row0, column0, row1, column1] = rectangle;
      shape = `M${this.across_(column0)} ${this.down_(row0)}H${this.across_(column1 + 1)}V${this.down_(row1 + 1)}H${this.across_(column0)}Z`;
    }
    for (const path of this.svg.querySelectorAll(".chosen")) path.setAttribute("d", shape);
  }

  // The place of a cell's middle in the photo, in fractions of it.
  middleOf(cell) {
    const [row, column] = [Math.floor(cell / this.grid.columns), cell % this.grid.columns];
    return [this.across_(column + 0.5) / this.width, this.down_(row + 0.5) / this.height];
  }
}
