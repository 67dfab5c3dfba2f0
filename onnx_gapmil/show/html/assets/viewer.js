// One image at large, in a dialog: the same explorer with more room, all its classes, the images before and after.
if (byId("viewer")) {
  const dialog = byId("viewer");
  const state = { place: -1, focus: 0 };

  const room = () => {
    const narrow = window.innerWidth < 800;
    return Math.max(200, Math.min(640, narrow ? window.innerWidth - 48 : 0.56 * window.innerWidth, window.innerHeight - 190));
  };
  const classButtons = (explorer) => {
    const { grid } = explorer;
    if (!grid) return null;
    const best = (slot) => Math.max(...Array.from({ length: grid.cells }, (_, cell) => grid.share(slot, cell)));
    const listed = grid.classes.map((index, slot) => ({ index, share: best(slot) })).sort((a, b) => b.share - a.share);
    const buttons = listed.map(({ index, share }) => {
      const button = make(
        "button",
        { type: "button", class: "map-button", "data-class": index, "aria-pressed": "false" },
        isolated(nameOf(index)),
        make("span", { class: "soft" }, percent(share)),
      );
      button.addEventListener("click", () => explorer.toggleMap(index));
      return button;
    });
    return make(
      "div",
      { class: "all-maps" },
      make("h3", {}, "Maps"),
      make("p", { class: "soft" }, grid.activation === "sigmoid" ? "Each class with its best cell’s probability, each by itself." : "Each class with its best cell’s share among all classes."),
      make("div", { class: "map-buttons" }, ...buttons),
    );
  };
  const switches = () => {
    const copies = [...document.querySelectorAll(".gallery-controls .switch:has([data-layer])")].map((one) => {
      const copy = one.cloneNode(true);
      const layer = copy.querySelector("input");
      layer.checked = one.querySelector("input").checked;
      layer.addEventListener("change", () => setLayer(layer.dataset.layer, layer.checked));
      return copy;
    });
    return make("div", { class: "bar" }, ...copies);
  };
  const heading = (image) => {
    const place = order().indexOf(state.place);
    const go = (text, by, key) => {
      const button = make("button", { type: "button", class: "quiet", "data-step": by, "aria-keyshortcuts": key, title: key }, text);
      button.disabled = !order()[place + by] && order()[place + by] !== 0;
      button.addEventListener("click", () => step(by, true));
      return button;
    };
    const close = make("button", { type: "button", class: "quiet close" }, "Close");
    close.addEventListener("click", () => dialog.close());
    return make(
      "header",
      {},
      make("h2", { title: image.name }, isolated(image.name)),
      make("span", { class: "soft" }, `${(place + 1).toLocaleString("en")} of ${order().length.toLocaleString("en")}`),
      go("Previous", -1, "ArrowLeft"),
      go("Next", 1, "ArrowRight"),
      actionButton("Copy link", "Copied", () => copyText(location.href)),
      close,
    );
  };
  const story = (image) => {
    const answer = answerOf(image);
    return make(
      "div",
      { class: "story" },
      make("p", {}, make("span", { class: "soft" }, "Label "), make("b", {}, ...(image.labels.length ? namesOf(image.labels) : ["none"]))),
      isSeveral(image) ? make("p", {}, make("span", { class: "soft" }, "Present "), make("b", {}, ...(image.present.length ? namesOf(image.present) : ["none"]))) : answer === null ? null : make("p", {}, make("span", { class: "soft" }, "Answer "), make("b", {}, isolated(nameOf(answer))), ` ${percent(image.prediction[0][1])}`),
      make("p", {}, chipOf(image, true)),
      image.cause ? make("p", { class: "soft" }, CAUSES[image.cause] || "") : null,
    );
  };

  // The images before and after are those of the gallery's choice.
  const order = () => (gallery.found.includes(state.place) ? gallery.found : [...images.keys()]);
  const step = (by, byButton = false) => {
    const next = order()[order().indexOf(state.place) + by];
    if (next === undefined) return;
    state.focus = byButton ? by : 0;
    address.set({ image: images[next].name }, { replace: true });
  };

  const render = () => {
    const image = images[state.place];
    const maps = [];
    const overlap = make("p", { class: "soft overlap" });
    const explorer = new Explorer(image, {
      room: room(),
      count: 8,
      onMap: (index) => {
        for (const button of maps) button.setAttribute("aria-pressed", String(Number(button.dataset.class) === index));
      },
    });
    const all = classButtons(explorer);
    if (all) maps.push(...all.querySelectorAll("button"));
    if (gallery.dropCutter) gallery.dropCutter();
    const cutter = explorer.grid && gallery.cutter ? gallery.cutter(() => {
      explorer.cutBoxes(gallery.cut);
      overlap.textContent = overlapText(explorer);
    }) : null;
    dialog.replaceChildren(
      heading(image),
      make(
        "div",
        { class: "viewer-body" },
        make("div", { class: "viewer-photo" }, explorer.element, explorer.legend, switches(), cutter && make("div", { class: "bar" }, cutter), overlap),
        make("div", { class: "viewer-side" }, story(image), explorer.panel.element, all),
      ),
    );
    explorer.setMap(mapFor(image, gallery.map));
    overlap.textContent = overlapText(explorer);
    const target = state.focus && dialog.querySelector(`[data-step="${state.focus}"]:not(:disabled)`);
    (target || dialog.querySelector(".close")).focus();
  };
  const overlapText = (explorer) => {
    if (gallery.cut === null || !explorer.grid) return "";
    const count = plural(explorer.found.length, "box", "boxes");
    const best = explorer.bestOverlap();
    return `${count} at this threshold${best === null ? "" : `; the best overlaps a box of the label by ${best.toFixed(2)} (intersection over union)`}.`;
  };

  // The address opens the dialog, turns its pages and closes it.
  const follow = ({ image }) => {
    const place = image === null ? -1 : images.findIndex((one) => one.name === image);
    if (place < 0) {
      if (dialog.open) dialog.close();
      return;
    }
    if (dialog.open && place === state.place) return;
    state.place = place;
    if (!dialog.open) {
      state.focus = 0;
      dialog.showModal();
    }
    render();
  };
  address.listen(follow);
  dialog.addEventListener("close", () => {
    dialog.replaceChildren();
    if (address.state.image !== null) address.back({ image: null });
    const card = gallery.bring ? gallery.bring(state.place) : null;
    if (card) card.larger.focus();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // the backdrop
  });
  // On the photo the arrows move from cell to cell, and keep that for themselves.
  dialog.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select")) return;
    const by = { ArrowLeft: -1, PageUp: -1, ArrowRight: 1, PageDown: 1 }[event.key];
    if (!by) return;
    step(by);
    event.preventDefault();
  });
}
