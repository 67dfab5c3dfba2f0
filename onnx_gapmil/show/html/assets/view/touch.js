// What can be touched of a photo: one model's view of it, or those of two and what changed between them, with all that
// is shared by them. Its state is what the address says, and everything is drawn from that; the live page, the page of a
// file and the dialogs of the reports are this and no more.

// The model's own answers of a photo that has them as a page keeps them.
function answersAsKept(models) {
  const known = new WeakMap();
  return (photo, place, head) => {
    if (!known.has(photo)) known.set(photo, new Map());
    const [answers, key] = [known.get(photo), `${place}/${head}`];
    if (!answers.has(key)) answers.set(key, Answer.ofShort(models[place].heads[head], photo.answers[place][head]));
    return answers.get(key);
  };
}

// The class of another head that has the same name, or, where names are missing, the same number of as many.
function linksByName() {
  const links = new Map();
  return (from, to) => {
    const key = `${from.output}\n${to.output}`;
    if (!links.has(key)) {
      const byName = from.names && to.names ? new Map(to.names.map((name, index) => [name, index])) : null;
      links.set(key, (index) => (byName ? (byName.get(from.names[index]) ?? null) : from.classes === to.classes ? index : null));
    }
    return links.get(key);
  };
}

const keyOk = (key) => /^(mean|max|lse=[\d.]+|topk=\d+)$/.test(key);

// `models` as the page's data have them; `address` has state and set(changes, options); `answerOf(photo, model, head)`
// gives an Answer, `linkOf(head, head)` the class of the other that is one's; `usual(photo)` the map that is on where
// the address says none, undefined for that of the best class; `change`, of two models, {of(photo, answers, link), evidence, absent}: a
// ChangeAnswer, null where it is not known; what it is of; and what is said where there is none;
// `cutAt` the threshold at which boxes begin; `rendered` is called with the views after each change.
function touchOf({ models, address, answerOf, linkOf = linksByName(), usual = () => undefined, change = null, cutAt = 0.5, rendered = () => {} }) {
  const several = models.length > 1;
  let photo = null;

  // ---- what the state means

  const numbers = (text, count) => {
    const found = text.split(",").map(Number);
    return found.length === count && found.every((value) => Number.isInteger(value) && value >= 0) ? found : null;
  };
  const share = (text, low, high) => Math.min(high, Math.max(low, Number(text) || 0));
  const classHead = (model) => Math.max(0, model.heads.findIndex((head) => !head.features));
  const headPlace = (state, place) => {
    const asked = state.head ? models[0].heads.findIndex((head) => head.output === state.head) : -1;
    if (!place) return asked >= 0 ? asked : classHead(models[0]);
    const same = models[place].heads.findIndex((head) => head.output === models[0].heads[headPlace(state, 0)].output);
    return same >= 0 ? same : classHead(models[place]);
  };
  const wantedIn = (state, first, pins, pool) => {
    if (state.map === "none") return null;
    if (state.map === "winners") return { winners: true };
    if (state.map === "pins" && pins.length === 2) return { first: pins[0], second: pins[1] };
    if (/^\d+$/.test(state.map) && first.has(Number(state.map))) return { index: Number(state.map) };
    const found = usual(photo);
    if (found !== undefined && (found === null || [found.index, found.first, found.second].every((index) => index === undefined || first.has(index)))) return found;
    const best = first.ranking(pool).find(({ index }) => first.has(index));
    return { index: best ? best.index : 0 };
  };
  const meaning = (state) => {
    const found = models.map((_, place) => answerOf(photo, place, headPlace(state, place)));
    const [first] = found;
    const linked = found.map((answer) => linkOf(first.head, answer.head));
    const pool = keyOk(state.pool) ? state.pool : "";
    const pins = (state.pins ? state.pins.split(",").map(Number) : []).filter((index) => first.has(index)).slice(0, 2);
    const [cell, rect] = [numbers(state.cell, 2), numbers(state.rect, 4)];
    const inside = (row, column) => row < first.rows && column < first.columns;
    const rectangle = rect && inside(rect[0], rect[1]) && inside(rect[2], rect[3]) && rect[0] <= rect[2] && rect[1] <= rect[3] ? rect : null;
    return {
      photo,
      answers: found,
      linked,
      pool,
      pins,
      wanted: wantedIn(state, first, pins, pool),
      rectangle: first.head.arranged ? rectangle : null,
      cell: first.head.arranged && cell && inside(...cell) ? cell[0] * first.columns + cell[1] : null,
      smooth: state.smooth === "1",
      opacity: share(state.opacity, 0, 100) / 100,
      cut: state.cut === "" ? null : share(state.cut, 0, 100) / 100,
      find: state.find,
      sort: ["best", "won"].includes(state.sort) ? state.sort : "rank",
    };
  };
  // The same of another model: its classes, its cells.
  const translated = (wanted, link) => {
    if (!wanted) return wanted;
    if (wanted.winners) {
      // A class has one colour on the whole page.
      const given = views[0].map ? [...views[0].map.colours].map(([index, colour]) => [link(index), colour]) : [];
      return { winners: true, colours: new Map(given.filter(([index]) => index !== null)) };
    }
    return wanted.index === undefined ? { first: link(wanted.first), second: link(wanted.second) } : { index: link(wanted.index) };
  };
  const cellIn = (view, other, cell) => (cell === null || !view.stage.grid || !other.stage || !other.stage.grid ? null : view === other ? cell : other.stage.cellAt(...view.stage.middleOf(cell)));
  const rectangleIn = (view, other, rectangle) => {
    if (!rectangle || view === other) return rectangle;
    const corner = (row, column) => cellIn(view, other, row * view.answer.columns + column);
    const [from, to] = [corner(rectangle[0], rectangle[1]), corner(rectangle[2], rectangle[3])];
    return from === null || to === null ? null : rectangleOf(from, to, other.answer.columns);
  };

  // ---- what the reader does

  const set = (changes, options) => address.set(changes, options);
  const cellText = (cell, answer) => (cell === null ? "" : `${Math.floor(cell / answer.columns)},${cell % answer.columns}`);
  const actions = {
    point(view, cell) {
      for (const other of seen()) other.look(cellIn(view, other, cell) ?? (cell === null ? other.state.cell : null));
    },
    keep(view, cell) {
      const own = cellIn(view, views[0], cell);
      const kept = view.state.cell === cell ? null : own;
      set({ cell: cellText(kept, views[0].answer), rect: "" });
      if (kept === null) actions.point(view, cell);
    },
    choose(view, rectangle) {
      const own = rectangleIn(view, views[0], rectangle);
      set({ rect: own ? own.join(",") : "", cell: "" });
    },
    letGo() {
      set({ rect: "", cell: "" });
    },
    toggle(place, index) {
      if (index === null) return;
      const own = place ? views[0].answer.classes.find((one) => now.linked[place](one) === index) : index;
      if (own !== undefined) actions.map(own);
    },
    map(index) {
      const on = now.wanted && now.wanted.index === index && address.state.map !== "";
      set({ map: on ? "" : String(index) });
    },
    pin(index) {
      const pins = now.pins.includes(index) ? now.pins.filter((one) => one !== index) : [...now.pins.slice(-1), index];
      set({ pins: pins.join(","), map: pins.length === 2 ? "pins" : address.state.map === "pins" ? "" : address.state.map });
    },
    swap: () => set({ pins: [...now.pins].reverse().join(","), map: "pins" }),
    unpin: () => set({ pins: "", map: address.state.map === "pins" ? "" : address.state.map }),
    find: (text) => set({ find: text }, { replace: true, later: true }),
    sort: (key) => set({ sort: key }),
  };

  // ---- what it is made of

  let now = null;
  let selecting = false;
  const named = ["Old", "New"];
  const titled = (place) => (several ? [make("span", { class: "soft" }, `${named[place]} `), isolated(models[place].name)] : null);
  const columns = models.length;
  const views = models.map((model, place) => new ModelView(model, { ...actions, toggle: (index) => actions.toggle(place, index) }, several ? { columns, title: [named[place], model.name], part: `_${named[place].toLowerCase()}` } : { columns, title: null }));
  // Beside the models' what changed between them, of photos of which that is known.
  const changed = change ? new ChangeView(models, { ...actions, toggle: (index) => actions.toggle(0, index) }, { columns, evidence: change.evidence }) : null;
  const absent = make("p", { class: "soft", id: "no-change", hidden: true }, change && change.absent);
  const seen = () => (changed && changed.answer ? [...views, changed] : views);
  const classes = new Classes(actions);
  const exported = exportBar(seen, () => now);
  const standing = make("section", { id: "standing", class: "holds", "aria-label": "What holds of these numbers" });

  const choices = (name, label, entries, act) => {
    const group = make("div", { class: "choices", role: "group", "aria-label": label, id: name });
    for (const [value, text] of entries) {
      const button = make("button", { type: "button", "data-value": value, "aria-pressed": "false" }, text);
      button.addEventListener("click", () => act(value));
      group.append(button);
    }
    return group;
  };
  const press = (group, value) => {
    for (const button of group.children) button.setAttribute("aria-pressed", String(button.dataset.value === value));
  };
  const slider = (id, label, max, act) => {
    const input = make("input", { type: "range", id, min: 0, max, step: 1 });
    const output = make("output", { for: id });
    input.addEventListener("input", () => act(Number(input.value)));
    return { input, output, element: make("span", { class: "slider" }, make("label", { for: id }, label), input, output) };
  };

  const kinds = choices("kinds", "What lies on the photo", [["class", "One class"], ["pins", "Difference"], ["winners", "Winners"], ["none", "Photo only"]], (value) => set({ map: value === "class" ? oneClass() : value }));
  // Back to the usual map, or, where that is no single class's, to the best one's.
  const oneClass = () => {
    const found = photo && usual(photo);
    return found === null || (found && found.index === undefined) ? String(now.answers[0].ranking(now.pool).find(({ index }) => now.answers[0].has(index))?.index ?? 0) : "";
  };
  const drawn = choices("drawn", "How a map is drawn", [["", "Cells"], ["1", "Smooth"]], (value) => set({ smooth: value }));
  const opacity = slider("opacity", "Opacity", 100, (value) => set({ opacity: String(value) }, { replace: true, later: true }));
  const boxes = make("button", { type: "button", class: "quiet", id: "boxes", "aria-pressed": "false", title: "Boxes around what lies above a share of the map's range, as the audit cuts them" }, "Boxes");
  boxes.addEventListener("click", () => set({ cut: address.state.cut === "" ? String(Math.round(100 * cutAt)) : "" }));
  const cut = slider("cut", "above", 100, (value) => set({ cut: String(value) }, { replace: true, later: true }));
  const select = make("button", { type: "button", class: "quiet", id: "select", "aria-pressed": "false" }, "Rectangle");
  select.addEventListener("click", () => {
    selecting = !selecting;
    render(address.state);
    announce(selecting ? "Drag over the photo to choose a rectangle" : "");
  });
  const clear = make("button", { type: "button", class: "quiet", id: "clear" }, "Let go");
  clear.addEventListener("click", () => actions.letGo());

  // Positions of the aggregator's slider, from mean to max.
  const SHARPNESS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20];
  const positions = (family, cells) => {
    const counts = [...new Set([0.5, 0.3, 0.2, 0.1, 0.05, 0.02].map((part) => Math.round(part * cells)).concat(2))].filter((count) => count > 1 && count < cells).sort((a, b) => b - a);
    return ["mean", ...(family === "topk" ? counts.map((count) => `topk=${count}`) : SHARPNESS.map((r) => `lse=${r}`)), "max"];
  };
  const family = make("select", { id: "family" }, make("option", { value: "lse" }, "by log-sum-exp"), make("option", { value: "topk" }, "by the highest cells"));
  family.addEventListener("change", () => set({ family: family.value, pool: address.state.pool === "max" ? "max" : "" }));
  const pool = slider("pool", "mean", 9, (value) => {
    const key = positions(family.value, views[0].answer.cells)[value];
    set({ pool: key === "mean" && views[0].answer.head.pool === "mean" ? "" : key }, { replace: true, later: true });
  });
  pool.element.append(make("span", { class: "soft" }, "max"), pool.output);
  const pooling = make("div", { class: "pooling controls", role: "group", "aria-label": "How cells become the image's answer" }, make("label", { for: "family" }, "Image's answer "), family, pool.element);

  const heads = make("select", { id: "head" }, ...models[0].heads.map((head) => make("option", { value: head.output }, head.output)));
  heads.addEventListener("change", () => set({ head: heads.value, map: "", pins: "", cell: "", rect: "" }));
  const bar = make(
    "div",
    { class: "toolbar controls" },
    models[0].heads.length > 1 ? make("span", { class: "head-choice" }, make("label", { for: "head" }, "Head "), heads) : null,
    kinds,
    drawn,
    opacity.element,
  );
  const tools = make("div", { class: "toolbar controls" }, make("span", { class: "joined placed" }, boxes, cut.element), make("span", { class: "joined placed" }, select, clear), exported.bar);

  // ---- from state to page

  function renderControls(state) {
    const [answer] = now.answers;
    const [first] = views;
    press(kinds, !now.wanted ? "none" : now.wanted.winners ? "winners" : now.wanted.index === undefined ? "pins" : "class");
    kinds.querySelector("[data-value='pins']").disabled = now.pins.length < 2;
    kinds.querySelector("[data-value='pins']").title = now.pins.length < 2 ? "Pin two classes below for their difference" : "";
    press(drawn, state.smooth === "1" ? "1" : "");
    opacity.input.value = String(Math.round(100 * now.opacity));
    opacity.output.textContent = `${Math.round(100 * now.opacity)} %`;
    boxes.setAttribute("aria-pressed", String(now.cut !== null));
    cut.element.hidden = now.cut === null;
    cut.input.value = String(Math.round(100 * (now.cut ?? cutAt)));
    cut.output.textContent = `${(now.cut ?? cutAt).toFixed(2)} of the map's range: ${plural(first.boxes.length, "box", "boxes")}`;
    select.setAttribute("aria-pressed", String(selecting));
    clear.hidden = now.cell === null && now.rectangle === null;
    family.value = state.family === "topk" ? "topk" : "lse";
    const keys = positions(family.value, answer.cells);
    pool.input.max = String(keys.length - 1);
    const at = keys.indexOf(now.pool || answer.head.pool);
    pool.input.value = String(Math.max(0, at));
    const said = now.pool ? poolName(now.pool) : `the model's own ${poolName(answer.head.pool)}`;
    pool.output.textContent = said;
    pool.input.setAttribute("aria-valuetext", said);
    heads.value = answer.head.output;
    for (const one of [bar, tools]) one.classList.toggle("unplaced", !answer.head.arranged);
  }

  let waiting = 0;
  let standingFor = null;
  function renderStanding() {
    if (standingFor === now.photo && standing.dataset.head === now.answers[0].head.output) return;
    const opened = standing.querySelector("details")?.open;
    standingFor = now.photo;
    standing.dataset.head = now.answers[0].head.output;
    standing.replaceChildren(
      make("h2", {}, "What holds of these numbers"),
      ...models.flatMap((model, place) => [several ? make("h3", {}, ...titled(place)) : null, standingOf(model, now.answers[place].head, now.answers[place]), chainOf(now.answers[place].head)].filter(Boolean)),
    );
    if (opened) standing.querySelector("details").open = true;
  }

  function render(state) {
    if (!photo) return;
    const before = now;
    now = meaning(state);
    const [first] = views;
    const fresh = !before || before.photo !== now.photo || before.answers.some((answer, place) => answer !== now.answers[place]);
    if (fresh) {
      const gap = changed ? change.of(now.photo, now.answers, now.linked[1]) : null;
      body.classList.toggle("three", gap !== null); // photos are fitted to their columns
      if (changed) changed.element.hidden = gap === null;
      absent.hidden = !changed || gap !== null || !change.absent;
      views.forEach((view, place) => view.show(now.photo, now.answers[place]));
      if (changed) changed.show(now.photo, gap);
    }
    const { pool: key, smooth, opacity: strength, cut: level } = now;
    for (const [place, view] of seen().entries()) {
      const wanted = place && place < models.length ? translated(now.wanted, now.linked[place]) : now.wanted;
      view.render({ wanted, rectangle: rectangleIn(first, view, now.rectangle), cell: cellIn(first, view, now.cell), pool: key, smooth, opacity: strength, cut: level, selecting });
    }
    renderControls(state);
    renderStanding();
    exported.render();
    // Many small maps: once for each frame, however often a slider moves in it.
    waiting ||= requestAnimationFrame(() => {
      waiting = 0;
      classes.render(now);
    });
    rendered(views);
  }

  // ---- together

  if (!several) {
    views[0].photoSide.append(bar, tools);
    views[0].readings.prepend(pooling);
  }
  const shared = several ? make("div", { class: "shared" }, bar, tools, pooling) : null;
  const body = make("div", { class: "touch" }, ...(shared ? [shared] : []), make("div", { class: several ? "views two" : "views" }, ...views.map((view) => view.element), ...(changed ? [changed.element] : [])), absent, exported.details, classes.element, standing);

  return {
    element: body,
    views,
    show(next) {
      photo = next;
    },
    render,
    fit() {
      for (const view of seen()) if (view.stage) view.stage.fit(view.room);
    },
  };
}
