// The table of classes: sorts by any column, filters, leaves out classes of few images, shows its rows by portions.
if (byId("class-table")) {
  const PORTION = 10;
  const MORE = 100;
  const heads = [...document.querySelectorAll("#class-table th[data-key]")];
  const body = byId("class-rows");
  const more = byId("class-more");
  const filter = byId("class-filter");
  const least = byId("class-least");
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const labelled = new Set(images.flatMap((image) => image.labels));
  const rows = data.classes.map((item) => {
    const name = nameOf(item.index);
    const first = (item.most_confused || [])[0];
    return { ...item, name, confused: first ? nameOf(first[0]) : "", words: `${fullName(item.index)} ${item.index}`.toLowerCase() };
  });
  const sort = { key: heads.find((head) => head.dataset.kind === "share").dataset.key, down: false };
  let shown = PORTION;

  const isMissing = (value) => value === null || value === undefined || value === "";
  const compare = (a, b) => {
    const [left, right] = [a[sort.key], b[sort.key]];
    if (isMissing(left) || isMissing(right)) return Number(isMissing(left)) - Number(isMissing(right));
    const order = typeof left === "number" ? left - right : collator.compare(left, right);
    return (sort.down ? -order : order) || b.images - a.images || a.index - b.index;
  };

  const shareCell = (value) => {
    const fill = make("span", { class: "fill" });
    fill.style.width = `${100 * (value || 0)}%`;
    return make("td", { class: "num share" }, make("span", { class: "value" }, isMissing(value) ? "–" : `${(100 * value).toFixed(1)}\u00a0%`), isMissing(value) ? null : make("span", { class: "track" }, fill));
  };
  const confusedWith = (item) =>
    (item.most_confused || []).flatMap(([index, times], place) => [place ? ", " : "", isolated(nameOf(index)), ` ×${times}`]);
  const rowOf = (item) => {
    const link = labelled.has(item.index)
      ? make("button", { type: "button", class: "link", title: `Show images of ${fullName(item.index)}` }, isolated(item.name))
      : isolated(item.name);
    if (link.matches("button")) link.addEventListener("click", () => choose({ class: String(item.index) }));
    return make(
      "tr",
      { "data-index": item.index },
      make("th", { scope: "row" }, link, item.name === `class ${item.index}` ? null : make("span", { class: "soft index" }, String(item.index))),
      ...heads.slice(1).map(({ dataset }) => {
        if (dataset.kind === "share") return shareCell(item[dataset.key]);
        if (dataset.kind === "number") return make("td", { class: "num" }, (item[dataset.key] ?? 0).toLocaleString("en"));
        return make("td", { class: "confused" }, ...(item.confused ? confusedWith(item) : ["–"]));
      }),
    );
  };

  const render = () => {
    const words = filter.value.trim().toLowerCase();
    const enough = rows.filter((item) => item.images >= Number(least.value));
    const found = enough.filter((item) => item.words.includes(words)).sort(compare);
    body.replaceChildren(...found.slice(0, shown).map(rowOf));
    for (const head of heads) {
      const active = head.dataset.key === sort.key;
      head.setAttribute("aria-sort", active ? (sort.down ? "descending" : "ascending") : "none");
    }
    const visible = Math.min(shown, found.length);
    const fewer = rows.length - enough.length;
    byId("class-count").textContent =
      (words ? `${plural(found.length, "class", "classes")} found` : `${visible.toLocaleString("en")} of ${plural(found.length, "class", "classes")}`) +
      (fewer ? `; ${plural(fewer, "class has", "classes have")} fewer images` : "");
    more.hidden = found.length <= shown;
    more.textContent = `Show ${Math.min(MORE, found.length - visible)} more`;
  };

  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      sort.down = sort.key === head.dataset.key ? !sort.down : false;
      sort.key = head.dataset.key;
      render();
    });
  }
  for (const control of [filter, least]) {
    control.addEventListener("input", () => {
      shown = PORTION;
      render();
    });
  }
  more.addEventListener("click", () => {
    shown += MORE;
    render();
  });
  render();
}
