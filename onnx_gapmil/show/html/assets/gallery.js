// The gallery: which images are chosen, and the cards that show them.
const gallery = { found: [...images.keys()], map: "label", cut: null };

// The cause of an error; at large also that its label wins a cell on the object, as in all causes but "absent".
function chipOf(image, all = false) {
  const kinds = [];
  const add = (kind, text) => kinds.push(make("span", { class: "cause" }, kind ? make("span", { class: `swatch ${kind}` }) : null, text));
  if (isSeveral(image)) {
    if (isExact(image)) add(null, "exactly the labels");
    const missed = image.labels.filter((index) => !image.present.includes(index)).length;
    const extra = image.present.length - image.labels.length + missed;
    if (missed) add("lost", `${missed} missed`);
    if (extra) add("distraction", `${extra} extra`);
    return make("span", { class: "causes" }, ...kinds);
  }
  if (image.right) add(null, "right");
  if (!image.right && image.cause) add(image.cause, image.cause);
  if (image.recoverable && !image.right && (all || !image.cause)) add("recoverable", "label wins a cell on the object");
  if (!image.right && !kinds.length) add("wrong", "wrong");
  if (image.suspect) add("suspect", "suspect");
  return make("span", { class: "causes" }, ...kinds);
}

class Card {
  constructor() {
    this.explorer = new Explorer(images[0], { room: innerWidth <= 640 ? 292 : 232, count: 5, onOpen: (cell) => this.open(cell) });
    this.label = make("span", { class: "label-name" });
    this.chips = make("span", { class: "chips" });
    this.file = isolated("", { class: "file soft" });
    this.larger = make("button", { type: "button", class: "quiet larger" }, "Larger view");
    this.larger.addEventListener("click", () => this.open(null));
    this.element = make(
      "li",
      { class: "card" },
      make("div", { class: "frame" }, this.explorer.element),
      this.explorer.legend,
      make("div", { class: "card-head" }, this.label, this.chips),
      this.explorer.panel.element,
      make("div", { class: "card-foot" }, this.file, this.larger),
    );
  }

  open(cell) {
    address.set({ image: images[this.place].name, cell: cellText(cell, this.explorer.grid) });
  }

  fill(place) {
    const image = images[place];
    this.place = place;
    this.element.dataset.image = place;
    this.explorer.bind(image);
    this.explorer.setMap(mapFor(image, gallery.map));
    this.explorer.cutBoxes(gallery.cut);
    this.label.replaceChildren(...(image.labels.length ? namesOf(image.labels) : ["no label"]));
    this.label.title = labelsOf(image);
    this.chips.replaceChildren(chipOf(image));
    this.file.textContent = image.name;
    this.file.title = image.name;
    this.larger.setAttribute("aria-label", `Larger view of ${image.name}`);
  }
}

if (byId("gallery")) {
  const PAPER = 48;
  const list = byId("gallery");
  const filter = byId("image-filter");
  const mapOfAll = byId("map-of");
  const chips = byId("gallery-chips");
  const buttons = [...document.querySelectorAll("[data-filter]")];
  const recycler = new Recycler(list, { make: () => new Card(), least: 240, gap: [28, 36] });
  gallery.bring = (place) => recycler.bring(place);

  const chipButtons = (state) =>
    chipsOf(state).map(({ key, text }) => {
      const button = make("button", { type: "button", class: "chip", "data-chip": key }, ...text, " ×");
      button.setAttribute("aria-label", `Remove the filter ${button.textContent.slice(0, -2)}`);
      button.addEventListener("click", () => {
        address.set({ [key]: null });
        filter.focus();
      });
      return button;
    });
  let last = null;
  const render = (state) => {
    const key = JSON.stringify([state.outcome, state.class, state.pair, state.slice, state.find]);
    if (filter.value !== state.find) filter.value = state.find;
    const kind = [...mapOfAll.options].some((option) => option.value === state.map) ? state.map : mapOfAll.options[0].value;
    if (kind !== gallery.map || mapOfAll.value !== kind) {
      mapOfAll.value = gallery.map = kind;
      for (const { explorer } of recycler.cards) explorer.setMap(mapFor(explorer.image, kind));
    }
    cutAll(state);
    if (key === last) return;
    last = key;
    const test = testOf(state);
    gallery.found = [...images.keys()].filter((place) => test(images[place]));
    recycler.show(gallery.found);
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.filter === state.outcome));
    chips.replaceChildren(...chipButtons(state));
    const all = gallery.found.length === images.length;
    byId("gallery-count").textContent = all ? plural(images.length, "image") : `${gallery.found.length.toLocaleString("en")} of ${plural(images.length, "image")}`;
    byId("gallery-paper").textContent = gallery.found.length > PAPER ? `The first ${PAPER} of ${plural(gallery.found.length, "image")} are on paper.` : "";
  };

  for (const button of buttons) button.addEventListener("click", () => address.set({ outcome: button.dataset.filter }));
  let typed = 0;
  filter.addEventListener("input", () => {
    address.set({ find: filter.value }, { replace: true, later: true });
    clearTimeout(typed);
    typed = setTimeout(() => announce(byId("gallery-count").textContent), 600);
  });
  mapOfAll.addEventListener("change", () => address.set({ map: mapOfAll.value }, { replace: true }));
  for (const layer of document.querySelectorAll("[data-layer]")) {
    layer.addEventListener("change", () => setLayer(layer.dataset.layer, layer.checked));
    setLayer(layer.dataset.layer, layer.checked);
  }

  // Boxes cut at a threshold: one for all photos, here and in the dialog.
  const cutter = data.cuts && { on: make("input", { type: "checkbox" }), slider: make("input", { type: "range", min: 0, max: 99, "aria-label": "Threshold of the boxes, in percent of the map’s range" }), said: make("output", {}) };
  const cutAll = ({ cut }) => {
    gallery.cut = /^\d+$/.test(cut) ? Math.min(99, Number(cut)) / 100 : null;
    if (!cutter) return;
    cutter.on.checked = gallery.cut !== null;
    cutter.slider.value = Math.round(100 * (gallery.cut ?? data.cuts.threshold));
    cutter.said.textContent = (cutter.slider.value / 100).toFixed(2);
    for (const { explorer } of recycler.cards) if (explorer.cut !== gallery.cut) explorer.cutBoxes(gallery.cut);
  };
  if (cutter) {
    const give = () => address.set({ cut: cutter.on.checked ? cutter.slider.value : "" }, { replace: true, later: true });
    cutter.on.addEventListener("change", give);
    cutter.slider.addEventListener("input", () => {
      cutter.on.checked = true;
      give();
    });
    byId("gallery-bar").append(make("span", { class: "cutter" }, make("label", { class: "switch" }, cutter.on, "Boxes cut from the map at"), cutter.slider, cutter.said));
  }

  byId("gallery-tools").append(
    actionButton("Copy names", "Copied", () => copyText(gallery.found.map((place) => images[place].name).join("\n"))),
    actionButton("Save as CSV", "Saved", () => saveCsv("images.csv", [HEADS, ...gallery.found.map((place) => rowOf(images[place]))])),
  );

  // What elsewhere on the page names a choice of images.
  for (const link of document.querySelectorAll("[data-choose]")) {
    link.addEventListener("click", () => choose(JSON.parse(link.dataset.choose)));
  }
  const paper = (on) => recycler.print(on ? PAPER : 0);
  window.addEventListener("beforeprint", () => paper(true));
  window.addEventListener("afterprint", () => paper(false));
  matchMedia("print").addEventListener("change", (event) => paper(event.matches));
  address.listen(render);
}

// Show the images of a class, of a pair, of a slice: nothing else stays chosen.
function choose(wanted) {
  address.set({ outcome: "all", class: null, pair: null, slice: null, find: "", ...wanted });
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  byId("images").scrollIntoView({ behavior: still ? "auto" : "smooth" });
  const chip = document.querySelector("#gallery-chips button") || document.querySelector("[data-filter][aria-pressed='true']");
  if (chip) chip.focus({ preventScroll: true });
}
