// The gallery: cards are made by portions as they come near the window, and kept once made.
let openViewer = () => {}; // the viewer fills this in

// What lies over the photos; a switch in the dialog and the one above the gallery are one.
function setLayer(name, on) {
  document.body.classList.toggle(`without-${name}`, !on);
  for (const layer of document.querySelectorAll(`[data-layer="${name}"]`)) layer.checked = on;
}

// The cause of an error; at large also that its label wins a cell on the object, as in all causes but "absent".
const chipOf = (image, all = false) => {
  if (image.right) return make("span", { class: "chip-right" }, "right");
  const kinds = [];
  if (image.cause) kinds.push(make("span", { class: "cause" }, make("span", { class: `swatch ${image.cause}` }), image.cause));
  if (image.recoverable && (all || !image.cause)) kinds.push(make("span", { class: "cause" }, make("span", { class: "swatch recoverable" }), "right class wins a cell"));
  if (!kinds.length) kinds.push(make("span", { class: "cause" }, "wrong"));
  return make("span", { class: "causes" }, ...kinds);
};

const labelsOf = (image) => image.labels.map(nameOf).join(", ") || "no label";
const answerOf = (image) => ((image.prediction || [])[0] || [null])[0];

if (byId("gallery")) {
  const PORTION = 24;
  const ROOM = 232;
  const list = byId("gallery");
  const more = byId("gallery-more");
  const chip = byId("class-chip");
  const filter = byId("image-filter");
  const mapOf = byId("map-of");
  const buttons = [...document.querySelectorAll("[data-filter]")];
  const cards = new Map();
  const wanted = { outcome: "all", index: null };
  let found = [];
  let shown = 0;

  const mapFor = (image) => {
    if (mapOf.value === "truth") return image.labels[0] ?? null;
    return mapOf.value === "answer" ? answerOf(image) : null;
  };
  const cardOf = (place) => {
    if (cards.has(place)) return cards.get(place);
    const image = images[place];
    const explorer = new Explorer(image, { room: ROOM, count: 5 });
    if (mapOf.value !== "none") explorer.setMap(mapFor(image));
    const larger = make("button", { type: "button", class: "quiet larger", "aria-label": `Larger view of ${image.name}` }, "Larger view");
    larger.addEventListener("click", () => openViewer(place, found, explorer.map));
    const element = make(
      "li",
      { class: "card", "data-image": place },
      make("div", { class: "frame" }, explorer.element),
      explorer.legend,
      make("div", { class: "card-head" }, make("span", { class: "label-name", title: labelsOf(image) }, labelsOf(image)), chipOf(image)),
      explorer.panel.element,
      make("div", { class: "card-foot" }, make("span", { class: "file soft", title: image.name }, image.name), larger),
    );
    cards.set(place, { element, explorer });
    return cards.get(place);
  };

  const outcomes = {
    all: () => true,
    right: (image) => image.right,
    wrong: (image) => !image.right,
    recoverable: (image) => image.recoverable,
  };
  const matches = (image, words) => {
    const outcome = outcomes[wanted.outcome] || ((one) => one.cause === wanted.outcome);
    if (!outcome(image)) return false;
    if (wanted.index !== null && !image.labels.includes(wanted.index)) return false;
    if (!words) return true;
    const text = [image.name, labelsOf(image), answerOf(image) === null ? "" : nameOf(answerOf(image))].join("\n");
    return text.toLowerCase().includes(words);
  };

  const grow = () => {
    const next = found.slice(shown, shown + PORTION);
    list.append(...next.map((place) => cardOf(place).element));
    shown += next.length;
    more.hidden = shown >= found.length;
    more.textContent = `Show more (${(found.length - shown).toLocaleString("en")} left)`;
  };
  const render = () => {
    const words = filter.value.trim().toLowerCase();
    found = [...images.keys()].filter((place) => matches(images[place], words));
    shown = 0;
    list.replaceChildren();
    grow();
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.filter === wanted.outcome));
    chip.hidden = wanted.index === null;
    chip.textContent = wanted.index === null ? "" : `${nameOf(wanted.index)} ×`;
    chip.setAttribute("aria-label", wanted.index === null ? "" : `Remove the filter ${nameOf(wanted.index)}`);
    byId("gallery-count").textContent = found.length === images.length ? "" : plural(found.length, "image");
  };

  for (const button of buttons) {
    button.addEventListener("click", () => {
      wanted.outcome = button.dataset.filter;
      render();
    });
  }
  filter.addEventListener("input", render);
  chip.addEventListener("click", () => {
    wanted.index = null;
    render();
    filter.focus();
  });
  mapOf.addEventListener("change", () => {
    for (const [place, { explorer }] of cards) explorer.setMap(mapFor(images[place]));
  });
  for (const layer of document.querySelectorAll("[data-layer]")) {
    const apply = () => setLayer(layer.dataset.layer, layer.checked);
    layer.addEventListener("change", apply);
    apply();
  }
  showClass = (index) => {
    wanted.index = index;
    wanted.outcome = "all";
    filter.value = "";
    render();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    byId("images").scrollIntoView({ behavior: still ? "auto" : "smooth" });
    chip.focus({ preventScroll: true });
  };
  more.addEventListener("click", grow);
  new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting) && !more.hidden) grow();
  }, { rootMargin: "600px" }).observe(more);
  render();
}
