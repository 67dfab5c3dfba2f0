// What is said of an image or of one of its cells: the first classes, each with its share.
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
      name: isolated("", { class: "name" }),
      truth: make("span", { class: "truth-mark" }, "label"),
      fill: make("span", { class: "fill" }),
      value: make("span", { class: "value" }),
      index: null,
    };
    row.button = make(
      "button",
      { type: "button", "aria-pressed": "false" },
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
      row.index = entry ? entry.index : null;
      if (!entry) return;
      row.name.textContent = nameOf(entry.index);
      row.truth.hidden = !this.image.labels.includes(entry.index);
      row.value.textContent = percent(entry.share);
      row.fill.style.width = `${100 * entry.share}%`;
      const mapped = (this.image.classes || []).includes(entry.index) && Boolean(this.image.grid);
      row.button.disabled = !mapped;
      row.button.title = mapped ? `Map of ${fullName(entry.index)}` : fullName(entry.index);
    });
    this.rest.textContent = rest === null ? "" : `all other classes ${percent(rest)}`;
  }

  press(index) {
    for (const row of this.rows) row.button.setAttribute("aria-pressed", String(row.index === index && index !== null));
  }
}
