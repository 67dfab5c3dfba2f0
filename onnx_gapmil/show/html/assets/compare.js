// Two models' grids of one photo under one pointer, and what changed between them.

// The change of evidence on the common places; its middle colour is no change.
class ChangeStage extends Stage {
  showMap(map) {
    super.showMap(map && { ...map, scale: "differences" });
  }
}

// An explorer that tells where it looks, so that the others look at the same place of the photo.
class LinkedExplorer extends Explorer {
  look(cell) {
    super.look(cell);
    if (this.told) this.told(this, cell);
  }

  follow(place) {
    if (!this.grid) return;
    super.look(place === null ? null : this.stage.cellAt(...place));
  }

  // The middle of a cell, in fractions of the photo.
  middleOf(cell) {
    const [x0, y0, x1, y1] = this.stage.window;
    const [row, column] = [Math.floor(cell / this.grid.columns), cell % this.grid.columns];
    return [x0 + ((x1 - x0) * (column + 0.5)) / this.grid.columns, y0 + ((y1 - y0) * (row + 0.5)) / this.grid.rows];
  }
}

class ChangeExplorer extends LinkedExplorer {
  makeStage(image, room) {
    return new ChangeStage(image, room);
  }

  setLegend(map) {
    super.setLegend(map);
    this.legend.classList.add("signed");
  }

  look(cell) {
    this.report(cell);
    if (this.grid) this.stage.mark(cell, cell !== null && cell === this.kept);
    if (this.told) this.told(this, cell);
  }

  follow(place) {
    if (!this.grid) return;
    const cell = place === null ? null : this.stage.cellAt(...place);
    this.report(cell);
    this.stage.mark(cell, false);
  }

  // The classes whose evidence in a cell changed most; of the whole image how much moved.
  report(cell) {
    if (cell === null || !this.grid) {
      const moved = this.image.moved;
      this.panel.fill([moved === null || moved === undefined ? "Change" : `Evidence that moved: ${percent(moved)}`], [], null);
      return;
    }
    const gaps = this.grid.classes.map((index, slot) => ({ index, gap: this.grid.logit(slot, cell) }));
    gaps.sort((a, b) => Math.abs(b.gap) - Math.abs(a.gap));
    const reach = this.grid.high || 1;
    const shown = gaps.slice(0, this.count).map(({ index, gap }) => ({ index, gap, share: Math.abs(gap) / reach }));
    this.panel.fill(this.title(cell), shown, null);
    this.panel.rows.forEach((row, place) => {
      if (!shown[place]) return;
      const { gap } = shown[place];
      row.value.textContent = `${gap > 0 ? "+" : ""}${gap.toFixed(2)}`;
      row.fill.classList.toggle("less", gap < 0);
    });
  }

  say(cell) {
    const { title, rows } = this.panel;
    announce(`${title.textContent}: change of ${rows.filter((row) => !row.item.hidden).map((row) => `${row.name.textContent} ${row.value.textContent}`).join(", ")}`);
  }
}

// The three of one image, tied together.
class Comparison {
  constructor(pair, room) {
    this.pair = pair;
    this.busy = true; // while they are made, none tells the others
    const shared = { name: pair.name, thumb: pair.thumb, size: pair.size, boxes: pair.boxes, box_classes: pair.box_classes, labels: pair.labels };
    const side = (view, activation) => ({ ...shared, ...view, activation });
    const onMap = (index) => this.setMap(index);
    this.old = new LinkedExplorer(side(pair.old, data.activations[0]), { room, count: 4, onMap });
    this.new = new LinkedExplorer(side(pair.new, data.activations[1]), { room, count: 4, onMap });
    const change = { ...shared, ...(pair.change || { grid: null, classes: [], window: pair.old.window }), moved: pair.moved, activation: "none" };
    this.change = new ChangeExplorer(change, { room, count: 4, onMap });
    this.all = [this.old, this.new, this.change];
    this.busy = false;
    for (const explorer of this.all) explorer.told = (one, cell) => this.told(one, cell);
  }

  told(one, cell) {
    const place = cell === null ? null : one.middleOf(cell);
    for (const other of this.all) if (other !== one) other.follow(place);
  }

  setMap(index) {
    if (this.busy) return;
    this.busy = true;
    for (const explorer of this.all) explorer.setMap(index);
    this.busy = false;
  }
}

const KINDS = {
  broken: "broken: right before, wrong now",
  fixed: "fixed: wrong before, right now",
  changed: "another answer",
  same: "the same answer",
};

if (byId("pairs")) {
  const PORTION = 8;
  const pairs = data.pairs;
  const list = byId("pairs");
  const more = byId("pairs-more");
  const mapOf = byId("pairs-map");
  const filter = byId("pairs-filter");
  const buttons = [...document.querySelectorAll("[data-kind]")];
  const cards = new Map();
  let kind = "all";
  let found = [];
  let shown = 0;

  const wanted = (pair) => {
    if (mapOf.value === "label") return pair.labels[0] ?? pair.old.prediction[0][0];
    if (mapOf.value === "old") return pair.old.prediction[0][0];
    return mapOf.value === "new" ? pair.new.prediction[0][0] : null;
  };
  const answer = (view) => `${nameOf(view.prediction[0][0])} ${percent(view.prediction[0][1])}`;
  const answered = (view) => [isolated(nameOf(view.prediction[0][0])), ` ${percent(view.prediction[0][1])}`];
  const column = (title, said, explorer, right) =>
    make(
      "div",
      { class: "pair-side" },
      make("p", { class: "pair-title" }, make("span", { class: "soft" }, title), " ", make("b", { class: right === false ? "is-wrong" : right === true ? "is-right" : null }, ...said)),
      make("div", { class: "frame" }, explorer.element),
      explorer.legend,
      explorer.panel.element,
    );
  const cardOf = (place) => {
    if (cards.has(place)) return cards.get(place);
    const pair = pairs[place];
    const comparison = new Comparison(pair, 304);
    comparison.setMap(wanted(pair));
    const change = pair.change ? "new less old" : "not known: no common places";
    const element = make(
      "li",
      { class: "pair", "data-pair": place },
      make(
        "div",
        { class: "pair-head" },
        make("span", { class: `kind ${pair.kind}` }, KINDS[pair.kind]),
        pair.labels.length ? make("span", {}, make("span", { class: "soft" }, "label "), make("b", {}, ...namesOf(pair.labels))) : null,
        isolated(pair.name, { class: "file soft", title: pair.name }),
      ),
      make(
        "div",
        { class: "pair-body" },
        column("Old", answered(pair.old), comparison.old, pair.old.right),
        column("New", answered(pair.new), comparison.new, pair.new.right),
        column("Change", [change], comparison.change, null),
      ),
    );
    cards.set(place, { element, comparison });
    return cards.get(place);
  };
  const grow = () => {
    const next = found.slice(shown, shown + PORTION);
    list.append(...next.map((place) => cardOf(place).element));
    shown += next.length;
    more.hidden = shown >= found.length;
    more.textContent = `Show more (${(found.length - shown).toLocaleString("en")} left)`;
  };
  const matches = (pair, words) => {
    if (kind !== "all" && pair.kind !== kind) return false;
    const text = [pair.name, ...pair.labels.map(nameOf), answer(pair.old), answer(pair.new), ...pair.slices.map((one) => one.join("="))];
    return text.join("\n").toLowerCase().includes(words);
  };
  const render = () => {
    const words = filter.value.trim().toLowerCase();
    found = [...pairs.keys()].filter((place) => matches(pairs[place], words));
    shown = 0;
    list.replaceChildren();
    grow();
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
    byId("pairs-count").textContent = found.length === pairs.length ? "" : plural(found.length, "image");
  };
  for (const button of buttons) {
    button.addEventListener("click", () => {
      kind = button.dataset.kind;
      render();
    });
  }
  for (const link of document.querySelectorAll("[data-find]")) {
    link.addEventListener("click", () => {
      kind = "all";
      filter.value = link.dataset.find;
      render();
      byId("images").scrollIntoView();
    });
  }
  filter.addEventListener("input", render);
  mapOf.addEventListener("change", () => {
    for (const [place, { comparison }] of cards) comparison.setMap(wanted(pairs[place]));
  });
  for (const layer of document.querySelectorAll("[data-layer]")) {
    const apply = () => document.body.classList.toggle(`without-${layer.dataset.layer}`, !layer.checked);
    layer.addEventListener("change", apply);
    apply();
  }
  more.addEventListener("click", grow);
  new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting) && !more.hidden) grow();
  }, { rootMargin: "600px" }).observe(more);
  render();
}
