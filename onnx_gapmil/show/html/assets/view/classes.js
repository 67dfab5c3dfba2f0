// All classes with small maps: searched, sorted, one of them laid over the photo, two of them pinned.
const PORTION = 24;

// Of a page that has not all classes, or not their cells, how many it has.
function keptNote(answer) {
  if (answer.isWhole) return "";
  const [kept, all] = [answer.classes.length, answer.head.classes].map((count) => count.toLocaleString("en"));
  return answer.hasAll ? `; the page keeps the cells of ${kept}` : `; the page keeps ${kept} of the model’s ${all}`;
}

class Classes {
  // `on` has: map(index), pin(index), find(text), sort(key).
  constructor(on) {
    this.on = on;
    this.most = PORTION;
    this.search = make("input", { type: "search", id: "find", autocomplete: "off", spellcheck: "false" });
    this.search.addEventListener("input", () => {
      this.most = PORTION;
      on.find(this.search.value);
    });
    const orders = [["rank", "image rank"], ["best", "best cell"], ["won", "share of cells won"]];
    this.order = make("select", { id: "sort" }, ...orders.map(([value, text]) => make("option", { value }, text)));
    this.order.addEventListener("change", () => on.sort(this.order.value));
    this.count = make("p", { class: "soft", role: "status", id: "listed-count" });
    this.pins = make("p", { class: "pins", id: "pins" });
    this.list = make("ul", { class: "class-cards" });
    this.more = make("button", { type: "button", class: "quiet", id: "more" }, "Show more");
    this.more.addEventListener("click", () => {
      this.most += 4 * PORTION;
      this.fill();
    });
    const bar = make("div", { class: "class-bar controls" }, make("span", {}, make("label", { for: "find" }, "Find a class "), this.search), make("span", {}, make("label", { for: "sort" }, "Sort by "), this.order));
    this.element = make("section", { class: "classes", "aria-label": "Classes" }, make("h2", {}, "Classes"), make("p", { class: "soft" }, "Each small map has a scale of its own, from the lowest cell of its class to the highest."), bar, this.pins, this.count, this.list, this.more);
  }

  // `answers` by model, `linked[m](index)` the class of model m that is the first one's `index`.
  render({ answers, linked, pool, find, sort, wanted, pins }) {
    Object.assign(this, { answers, linked, wanted, pinned: pins, sorted: sort });
    this.ranking = answers[0].ranking(pool);
    this.poolUsed = pool;
    if (this.search.value !== find) this.search.value = find;
    this.order.value = sort;
    this.find = find.trim().toLowerCase();
    this.fill();
    this.fillPins();
  }

  get listed() {
    const [answer] = this.answers;
    const { best } = answer;
    const found = this.ranking.map((entry, place) => ({ ...entry, rank: place + 1, ...(best.has(entry.index) ? { best: best.get(entry.index) } : {}) }));
    const words = found.filter(({ index }) => !this.find || `${answer.name(index)} ${index}`.toLowerCase().includes(this.find));
    const of = (entry, key) => (entry.best ? entry.best[key] : -Infinity);
    if (this.sorted === "best") words.sort((a, b) => of(b, "logit") - of(a, "logit"));
    if (this.sorted === "won") words.sort((a, b) => of(b, "won") - of(a, "won") || a.rank - b.rank);
    return words;
  }

  fill() {
    const listed = this.listed;
    const shownNow = listed.slice(0, this.most);
    this.list.replaceChildren(...shownNow.map((entry) => this.card(entry)));
    this.count.textContent = `${shownNow.length.toLocaleString("en")} of ${plural(listed.length, "class", "classes")}${this.find ? " found" : ""}${keptNote(this.answers[0])}`;
    this.more.hidden = listed.length <= this.most;
  }

  card({ index, logit, rank, best }) {
    const [answer] = this.answers;
    const name = answer.name(index);
    const maps = this.answers.map((one, model) => (model ? this.linked[model](index) : index)).map((own, model) => (own !== null && this.answers[model].has(own) && this.answers[model].head.arranged ? smallMap(this.answers[model], own) : make("span", { class: "small-map none" }, "no map")));
    const facts = [`rank ${rank} · ${shown(logit)}`, best ? `best cell ${shown(best.logit)}` : "cells not kept", best ? `wins ${percent(best.won / answer.cells)}` : ""];
    const pressed = Boolean(this.wanted && this.wanted.index === index);
    const button = make("button", { type: "button", class: "class-card", "aria-pressed": String(pressed), "data-index": index, title: name, disabled: !best || !answer.head.arranged }, make("span", { class: "small-maps" }, ...maps), isolated(shortIn(answer.head, index), { class: "name" }), ...facts.map((fact) => make("span", { class: "soft" }, fact)));
    button.addEventListener("click", () => this.on.map(index));
    const held = this.pinned.includes(index);
    const pin = make("button", { type: "button", class: "pin controls", "aria-pressed": String(held), "aria-label": `Pin ${shortIn(answer.head, index)}`, hidden: !best || !answer.head.arranged }, held ? "Pinned" : "Pin");
    pin.addEventListener("click", () => this.on.pin(index));
    return make("li", {}, button, pin);
  }

  fillPins() {
    const [answer] = this.answers;
    const names = this.pinned.map((index) => isolated(shortIn(answer.head, index)));
    this.pins.hidden = !names.length;
    if (!names.length) return;
    const button = (text, act) => {
      const made = make("button", { type: "button", class: "quiet small" }, text);
      made.addEventListener("click", act);
      return made;
    };
    const both = names.length > 1;
    this.pins.replaceChildren(
      "Pinned: ",
      names[0],
      ...(both ? [" − ", names[1], " "] : [". Pin another for their difference. "]),
      ...(both ? [button("Show the difference", () => this.on.map("pins")), " ", button("Swap", () => this.on.swap()), " "] : []),
      button("Unpin", () => this.on.unpin()),
    );
  }
}
