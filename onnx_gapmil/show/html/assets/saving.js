// Copies and files: text to the clipboard, rows as CSV, a plot as SVG or PNG. Nothing leaves the page but into a file.

function saveAs(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// RFC 4180. Spreadsheets run a cell that begins like a formula: such a text gets an apostrophe.
function csvOf(rows) {
  const cell = (value) => {
    const text = String(value ?? "");
    const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

const saveCsv = (name, rows) => saveAs(name, new Blob(["\ufeff", csvOf(rows)], { type: "text/csv" }));

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", { class: "unseen", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

// A button that says what it has done.
function actionButton(text, done, act) {
  const button = make("button", { type: "button", class: "quiet small" }, text);
  button.addEventListener("click", async () => {
    await act();
    button.textContent = done;
    announce(done);
    setTimeout(() => (button.textContent = text), 1500);
  });
  return button;
}

// A part of the page drawn anew as an SVG by itself: its words, its drawings, its coloured cells, where they stand.
class PlotCopy {
  constructor(parts) {
    const areas = parts.map((part) => part.getBoundingClientRect());
    this.left = Math.min(...areas.map((area) => area.left)) - 16;
    this.top = Math.min(...areas.map((area) => area.top)) - 16;
    this.width = Math.ceil(Math.max(...areas.map((area) => area.right)) - this.left + 16);
    this.height = Math.ceil(Math.max(...areas.map((area) => area.bottom)) - this.top + 16);
    this.svg = draw("svg", { xmlns: "http://www.w3.org/2000/svg", width: this.width, height: this.height, viewBox: `0 0 ${this.width} ${this.height}` });
    this.svg.append(draw("rect", { width: this.width, height: this.height, fill: getComputedStyle(document.body).backgroundColor }));
    for (const part of parts) this.add(part);
  }

  add(element) {
    const style = getComputedStyle(element);
    if (style.display === "none" || style.visibility === "hidden" || element.matches(".unseen, details, .tools, button.quiet")) return;
    if (element instanceof SVGSVGElement) {
      this.addDrawing(element);
      return;
    }
    this.addGround(element, style);
    for (const child of element.childNodes) {
      if (child.nodeType === Node.TEXT_NODE) this.addWords(child, style);
      else if (child.nodeType === Node.ELEMENT_NODE) this.add(child);
    }
  }

  addGround(element, style) {
    const area = element.getBoundingClientRect();
    if (style.backgroundColor === "rgba(0, 0, 0, 0)" || !area.width) return;
    this.svg.append(draw("rect", { ...this.placeOf(area), width: area.width, height: area.height, fill: style.backgroundColor, rx: parseFloat(style.borderRadius) || 0 }));
  }

  placeOf(area) {
    return { x: area.left - this.left, y: area.top - this.top };
  }

  // Line by line, as the page has wrapped them.
  addWords(node, style) {
    const range = document.createRange();
    const lines = [];
    for (const word of node.data.matchAll(/\S+\s*/g)) {
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].trimEnd().length);
      const area = range.getBoundingClientRect();
      const line = lines.at(-1);
      if (line && Math.abs(line.area.top - area.top) < 2) line.text += word[0];
      else lines.push({ area, text: word[0] });
    }
    const rotated = style.writingMode !== "horizontal-tb";
    for (const { area, text } of lines) {
      if (!area.width) continue;
      const { x, y } = this.placeOf(area);
      const size = parseFloat(style.fontSize);
      const place = rotated ? { transform: `translate(${x + 0.76 * area.width} ${y + area.height}) rotate(-90)` } : { x, y: y + (area.height + 0.7 * size) / 2 };
      const written = draw("text", { ...place, fill: style.color, "font-family": style.fontFamily, "font-size": size, "font-weight": style.fontWeight });
      written.textContent = text.trimEnd();
      this.svg.append(written);
    }
  }

  // A drawing with what the page's style gave its parts.
  addDrawing(element) {
    const area = element.getBoundingClientRect();
    const copy = element.cloneNode(true);
    const all = (one) => [one, ...one.querySelectorAll("*")];
    const copies = all(copy);
    all(element).forEach((part, place) => {
      const style = getComputedStyle(part);
      for (const name of ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "stroke-linecap", "font-family", "font-size"]) {
        copies[place].setAttribute(name, style.getPropertyValue(name));
      }
      copies[place].removeAttribute("class");
    });
    for (const [name, value] of Object.entries({ ...this.placeOf(area), width: area.width, height: area.height })) copy.setAttribute(name, value);
    copy.setAttribute("overflow", getComputedStyle(element).overflow === "hidden" ? "hidden" : "visible");
    this.svg.append(copy);
  }

  get text() {
    return new XMLSerializer().serializeToString(this.svg);
  }

  // Twice as large as on the page, so that it is sharp on paper.
  async png() {
    const picture = new Image();
    picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(this.text)}`;
    await picture.decode();
    const canvas = make("canvas", { width: 2 * this.width, height: 2 * this.height });
    const context = canvas.getContext("2d");
    context.scale(2, 2);
    context.drawImage(picture, 0, 0);
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  }
}

// A plot's own bar of buttons; `rows` of tables become CSV.
for (const article of document.querySelectorAll(".finding")) {
  const parts = () => [...article.children].filter((part) => !part.matches("details, .tools"));
  const tables = [...article.querySelectorAll("table")];
  const rows = () => tables.flatMap((table) => [...table.rows].filter((row) => !row.closest("tfoot")).map((row) => [...row.cells].filter((cell) => !cell.matches(".track")).map((cell) => cell.innerText.trim())));
  article.append(
    make(
      "p",
      { class: "tools" },
      actionButton("SVG", "Saved", () => saveAs(`${article.id}.svg`, new Blob([new PlotCopy(parts()).text], { type: "image/svg+xml" }))),
      actionButton("PNG", "Saved", async () => saveAs(`${article.id}.png`, await new PlotCopy(parts()).png())),
      tables.length ? actionButton("CSV", "Saved", () => saveCsv(`${article.id}.csv`, rows())) : null,
    ),
  );
}
