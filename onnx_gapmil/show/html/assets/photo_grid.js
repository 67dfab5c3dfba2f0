// A photo with its grid: cells, boxes, the network's window, and the map of a class. One stage shows many images in
// turn: its elements are made once and filled anew.
class Stage {
  // `room` is the side in CSS pixels that the photo may take, `enter` what the key of that name does.
  constructor(image, room, enter = "Enter keeps one.") {
    Object.assign(this, { room, enter });
    this.element = make("div", { class: "stage" });
    this.canvas = make("canvas", { class: "map", width: 1, height: 1, hidden: true, "aria-hidden": "true" });
    this.svg = draw("svg", { preserveAspectRatio: "none", "aria-hidden": "true", class: "over" });
    this.paths = {};
    this.addPath("unseen-part", { "fill-rule": "evenodd" });
    this.addPath("window");
    for (const name of ["cells", "foreground", "box", "box other", "found"]) {
      this.addPath(`${name} under`);
      this.addPath(name);
    }
    this.cursor = draw("g", { class: "cursor" });
    this.cursor.append(draw("path", { class: "under" }), draw("path"));
    this.svg.append(this.cursor);
    this.element.append(this.canvas, this.svg);
    this.bind(image);
  }

  addPath(name, more = {}) {
    this.paths[name] = draw("path", { class: name, ...more });
    this.svg.append(this.paths[name]);
  }

  bind(image) {
    this.image = image;
    this.grid = gridOf(image);
    [this.width, this.height] = image.size;
    this.window = image.window || [0, 0, 1, 1];
    const [x0, y0, x1, y1] = this.window;
    this.left = Math.min(0, x0);
    this.top = Math.min(0, y0);
    this.across = Math.max(1, x1) - this.left;
    this.down = Math.max(1, y1) - this.top;
    this.fit();
    this.setPhoto();
    this.setRole();
    this.lay(this.canvas, ...this.window);
    this.setOverlay();
    this.mark(null, false);
    this.showMap(null);
    this.showFound([]);
  }

  // A new element each time: an old one would show the last photo until the next is decoded.
  setPhoto() {
    const source = String(this.image.thumb || "");
    const photo = make("img", {
      width: this.width,
      height: this.height,
      alt: this.grid ? "" : this.image.name,
      decoding: "async",
      src: source.startsWith("data:image/") ? source : null,
    });
    this.lay(photo, 0, 0, 1, 1);
    if (this.photo) this.photo.replaceWith(photo);
    else this.element.prepend(photo);
    this.photo = photo;
  }

  // Small pictures grow by whole factors with hard pixels; photos are not enlarged beyond twice their size.
  fit(room = this.room) {
    this.room = room;
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

  // With cells it is worked by keyboard; without it is a picture.
  setRole() {
    const attributes = { tabindex: null, role: null, "aria-roledescription": null, "aria-label": null };
    if (this.grid) {
      const { rows, columns } = this.grid;
      attributes.tabindex = "0";
      attributes.role = "application";
      attributes["aria-roledescription"] = "prediction grid";
      attributes["aria-label"] = `${this.image.name}, ${rows} by ${columns} cells. Arrow keys move from cell to cell. ${this.enter}`;
    }
    for (const [key, value] of Object.entries(attributes)) {
      if (value === null) this.element.removeAttribute(key);
      else this.element.setAttribute(key, value);
    }
  }

  setPath(name, shape) {
    for (const key of [`${name} under`, name]) if (this.paths[key]) this.paths[key].setAttribute("d", shape);
  }

  // x and y of the SVG are pixels of the thumbnail.
  setOverlay() {
    const [width, height] = [this.width, this.height];
    const view = [this.left * width, this.top * height, this.across * width, this.down * height];
    this.svg.setAttribute("viewBox", view.join(" "));
    const [x0, y0, x1, y1] = this.window;
    const partly = x0 > 0.002 || y0 > 0.002 || x1 < 0.998 || y1 < 0.998;
    const seen = partly ? this.rectangle(x0, y0, x1, y1) : "";
    this.setPath("unseen-part", partly ? `M${view[0]} ${view[1]}h${view[2]}v${view[3]}h${-view[2]}z${seen}` : "");
    this.setPath("window", seen);
    this.setPath("cells", this.grid ? this.lines() : "");
    this.setPath("foreground", this.grid ? this.outline(this.image.foreground || []) : "");
    const shapes = { box: "", "box other": "" };
    (this.image.boxes || []).forEach((box, place) => {
      shapes[this.isOther(place) ? "box other" : "box"] += this.rectangle(...box);
    });
    for (const [name, shape] of Object.entries(shapes)) this.setPath(name, shape);
  }

  // Whether a box shows something else than a label of the image.
  isOther(place) {
    const classes = (this.image.box_classes || [])[place];
    return Boolean(classes && classes.length) && !classes.some((one) => this.image.labels.includes(one));
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

  // Lines of cells too small to be told apart would only be noise.
  lines() {
    const { rows, columns } = this.grid;
    const cell = Math.min((this.across_(1) - this.across_(0)) / this.width, (this.down_(1) - this.down_(0)) / this.height);
    if (cell * this.room < 5) return "";
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
    let shape = "";
    if (cell !== null) {
      const [row, column] = [Math.floor(cell / this.grid.columns), cell % this.grid.columns];
      shape = `M${this.across_(column)} ${this.down_(row)}H${this.across_(column + 1)}V${this.down_(row + 1)}H${this.across_(column)}Z`;
    }
    for (const path of this.cursor.children) path.setAttribute("d", shape);
    this.cursor.classList.toggle("kept", kept);
  }

  // Lay a map over the photo, as `mapOf` makes it, or none.
  showMap(map) {
    this.canvas.hidden = map === null;
    this.element.classList.toggle("mapped", map !== null);
    if (map !== null) paintPlane(this.canvas, this.grid, map.plane, map);
  }

  // Boxes cut from a map, in places of 224 x 224 of the network's window.
  showFound(boxes) {
    const [x0, y0, x1, y1] = this.window;
    const across = (value) => x0 + ((x1 - x0) * value) / MAP_SIDE;
    const down = (value) => y0 + ((y1 - y0) * value) / MAP_SIDE;
    this.setPath("found", boxes.map((box) => this.rectangle(across(box[0]), down(box[1]), across(box[2]), down(box[3]))).join(""));
  }
}
