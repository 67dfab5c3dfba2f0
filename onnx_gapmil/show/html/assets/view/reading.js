// A list of classes with logits and scores: of the image, of a cell, of a rectangle.
const LISTED = 5;

class Reading {
  constructor(title, onClass) {
    this.title = make("h2", { class: "reading-title" }, title);
    this.note = make("p", { class: "soft reading-note" });
    this.list = make("ol", { class: "ranking" });
    this.after = make("p", { class: "soft reading-after" });
    this.element = make("section", { class: "reading" }, this.title, this.note, this.list, this.after);
    this.pressed = null; // the class whose map is on
    this.rows = Array.from({ length: LISTED }, () => this.row(onClass));
  }

  row(onClass) {
    const row = { name: isolated("", { class: "name" }), mark: make("span", { class: "truth-mark" }), logit: make("span", { class: "logit" }), score: make("span", { class: "score" }), fill: make("span", { class: "fill" }), index: null, answer: null };
    row.button = make("button", { type: "button", "aria-pressed": "false" }, make("span", { class: "label" }, row.name, row.mark), make("span", { class: "numbers" }, row.logit, row.score), make("span", { class: "track" }, row.fill));
    row.button.addEventListener("click", () => onClass(row.index));
    row.item = make("li", {}, row.button);
    this.list.append(row.item);
    return row;
  }

  // `title` and `note` are text or nodes; `ranking` is shown as far as it goes; `after` says what follows. `signed` shows
  // the sign of every number, as of differences, and how far each is from 0.
  fill(answer, { title, note = "", ranking = [], after = "", signed = false }) {
    this.write(this.title, title);
    this.write(this.note, note);
    this.write(this.after, after);
    this.list.hidden = !ranking.length;
    const scored = ranking.length > 0 && ranking[0].score !== null && ranking[0].score !== undefined;
    this.element.classList.toggle("unscored", !scored);
    // Without scores a bar is as long as its logit is above 0.
    const most = ranking.slice(0, LISTED).reduce((top, entry) => Math.max(top, Math.abs(entry.logit) || 0), 0) || 1;
    this.rows.forEach((row, place) => {
      const entry = ranking[place];
      row.item.hidden = !entry;
      const index = entry ? entry.index : null;
      if (entry) {
        this.write(row.logit, `${signed && entry.logit > 0 ? "+" : ""}${shown(entry.logit)}`);
        this.write(row.score, scored ? percent(entry.score) : "");
        const present = answer.head.reading === "multi-label" && entry.above > 0;
        this.write(row.mark, [answer.labels.includes(index) ? "label" : "", present ? "present" : ""].filter(Boolean).join(", "));
        row.mark.hidden = !row.mark.textContent;
        row.fill.style.width = `${(100 * (scored ? entry.score : Math.max(0, (signed ? Math.abs(entry.logit) : entry.logit) || 0) / most)).toFixed(2)}%`;
        if (signed) row.fill.className = `fill ${entry.logit < 0 ? "less" : "more"}`;
      }
      if (row.index === index && row.answer === answer) return;
      Object.assign(row, { index, answer });
      if (!entry) return;
      row.name.textContent = shortIn(answer.head, index);
      row.name.title = answer.name(index);
      row.button.disabled = !answer.has(index) || !answer.head.arranged;
      row.button.title = row.button.disabled ? "" : `Show the map of ${answer.name(index)}`;
    });
    this.press(this.pressed);
  }

  // Only what is another than before: a pointer that moves over cells asks for this many times a second.
  write(element, content) {
    const parts = [content].flat();
    const text = parts.every((part) => typeof part === "string") ? parts.join("") : null;
    if (text !== null && element.textContent === text) return;
    if (text !== null) element.textContent = text;
    else element.replaceChildren(...parts);
  }

  press(index) {
    this.pressed = index;
    for (const row of this.rows) {
      const pressed = String(row.index !== null && row.index === index);
      if (row.button.getAttribute("aria-pressed") !== pressed) row.button.setAttribute("aria-pressed", pressed);
    }
  }
}

// What passes its threshold, of a head of which several classes may be present; "" of others.
function presentText(answer, ranking) {
  if (answer.head.reading !== "multi-label") return "";
  const present = ranking.filter((entry) => entry.above > 0);
  if (!present.length) return "No class passes its threshold.";
  const rest = present.length > 12 ? ` and ${present.length - 12} more` : "";
  const names = present.slice(0, 12).flatMap((entry, place) => [place ? ", " : "", isolated(shortIn(answer.head, entry.index))]);
  return [`${plural(present.length, "class passes its threshold", "classes pass their threshold")}: `, ...names, `${rest}.`];
}

// Of a page that has not all classes, which it has.
const keptText = (answer) => (answer.isWhole ? "" : `Among the ${answer.classes.length.toLocaleString("en")} of ${answer.head.classes.toLocaleString("en")} classes whose cells this page keeps.`);
