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
    return new ChangeStage(image, room, OPENS);
  }

  setLegend(map) {
    super.setLegend(map);
    this.legend.classList.add("signed");
  }

  look(cell) {
    this.report(cell);
    if (this.grid) this.stage.mark(cell, false);
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
    const listed = gaps.slice(0, this.count).map(({ index, gap }) => ({ index, gap, share: Math.abs(gap) / reach }));
    this.panel.fill(this.title(cell), listed, null);
    this.panel.rows.forEach((row, place) => {
      if (!listed[place]) return;
      const { gap } = listed[place];
      row.value.textContent = `${gap > 0 ? "+" : ""}${shown(gap)}`;
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
  // `onOpen(place)` is told where in the photo a click was, null for nowhere.
  constructor(pair, room, onOpen) {
    this.pair = pair;
    this.busy = true; // while they are made, none tells the others
    const shared = { name: pair.name, thumb: pair.thumb, size: pair.size, boxes: pair.boxes, box_classes: pair.box_classes, labels: pair.labels };
    const side = (view, activation) => ({ ...shared, ...view, activation });
    const onMap = (index) => this.setMap(index);
    const options = (which) => ({ room, count: 4, onMap, onOpen: (cell) => onOpen(cell === null ? null : this[which].middleOf(cell)) });
    this.old = new LinkedExplorer(side(pair.old, data.activations[0]), options("old"));
    this.new = new LinkedExplorer(side(pair.new, data.activations[1]), options("new"));
    const change = { ...shared, ...(pair.change || { grid: null, classes: [], window: pair.old.window }), moved: pair.moved, activation: "none" };
    this.change = new ChangeExplorer(change, options("change"));
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
    // It opens with the old model's cell of that place, as the address counts them.
    const open = (spot) => {
      const { old } = comparison;
      const cell = spot === null || !old.grid ? null : old.stage.cellAt(...spot);
      address.set({ image: pair.name, cell: cellText(cell, old.grid) });
    };
    const comparison = new Comparison(pair, 304, open);
    comparison.setMap(wanted(pair));
    const larger = make("button", { type: "button", class: "quiet larger", "aria-label": `Larger view of ${pair.name}` }, "Larger view");
    larger.addEventListener("click", () => open(null));
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
        larger,
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
  let last = null;
  const render = (state) => {
    const key = JSON.stringify([state.outcome, state.find]);
    if (key === last) return;
    last = key;
    kind = Object.hasOwn(KINDS, state.outcome) ? state.outcome : "all";
    if (filter.value !== state.find) filter.value = state.find;
    const words = state.find.trim().toLowerCase();
    found = [...pairs.keys()].filter((place) => matches(pairs[place], words));
    shown = 0;
    list.replaceChildren();
    grow();
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
    byId("pairs-count").textContent = found.length === pairs.length ? "" : plural(found.length, "image");
  };
  for (const button of buttons) button.addEventListener("click", () => address.set({ outcome: button.dataset.kind }));
  for (const link of document.querySelectorAll("[data-find]")) {
    link.addEventListener("click", () => {
      address.set({ outcome: "all", find: link.dataset.find });
      byId("images").scrollIntoView();
    });
  }
  filter.addEventListener("input", () => address.set({ find: filter.value }, { replace: true, later: true }));
  mapOf.addEventListener("change", () => {
    for (const [place, { comparison }] of cards) comparison.setMap(wanted(pairs[place]));
  });
  for (const layer of document.querySelectorAll("[data-layer]")) {
    layer.addEventListener("change", () => setLayer(layer.dataset.layer, layer.checked));
    setLayer(layer.dataset.layer, layer.checked);
  }
  more.addEventListener("click", grow);
  new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting) && !more.hidden) grow();
  }, { rootMargin: "600px" }).observe(more);
  address.listen(render);

  // ---- one image at large: both models, and the change between them

  const answers = new WeakMap();
  const back = data.joint && new Map(data.joint.map((joint, own) => [joint, own]));
  const own = [(index) => index, (index) => (back ? back.get(index) : index)];
  const answerOf = (pair, place) => {
    const view = place ? pair.new : pair.old;
    if (!answers.has(view)) answers.set(view, Answer.ofMaps(data.models[place].heads[0], { ...view, labels: pair.labels.filter((index) => own[place](index) !== undefined) }, own[place]));
    return answers.get(view);
  };
  const changes = new WeakMap();
  const changeOf = (pair) => {
    if (!pair.change) return null;
    if (!changes.has(pair)) changes.set(pair, ChangeAnswer.of(data.models[0].heads[0], { ...pair.change, labels: pair.labels, moved: pair.moved }));
    return changes.get(pair);
  };
  // A class of the new model alone is not the old one's to show.
  const usual = (pair) => {
    const index = wanted(pair);
    return index === null ? null : index < data.models[0].heads[0].classes ? { index } : undefined;
  };
  const linkOf = (from, to) => (from === to ? (index) => index : (index) => own[1](index) ?? null);
  const side = (title, view, right) => make("p", {}, make("span", { class: "soft" }, `${title} `), make("b", { class: right === false ? "is-wrong" : right === true ? "is-right" : null }, ...answered(view)));
  const said = make("div", { class: "story pair-story" });
  const below = make("div", { class: "below" });
  new Viewer({
    dialog: byId("viewer"),
    images: pairs,
    touch: (within) => touchOf({ models: data.models, address: within, answerOf, linkOf, usual, change: { of: changeOf, evidence: data.evidence } }),
    order: () => found,
    story: (pair) => [
      make("p", {}, make("span", { class: `kind ${pair.kind}` }, KINDS[pair.kind])),
      pair.labels.length ? make("p", {}, make("span", { class: "soft" }, "Label "), make("b", {}, ...namesOf(pair.labels))) : null,
      side("Old", pair.old, pair.old.right),
      side("New", pair.new, pair.new.right),
      pair.change ? null : make("p", { class: "soft" }, "The change is not known: the grids have no common places."),
    ].filter(Boolean),
    tell(touch, nodes) {
      said.replaceChildren(...nodes);
      touch.element.prepend(said);
      below.replaceChildren(layerSwitches());
      touch.element.querySelector(".shared").append(below);
    },
    closed(place) {
      const button = cards.get(place)?.element.querySelector(".larger");
      if (button) button.focus();
    },
  });
  address.start();
}
