// One image at large, in a dialog: the same explorer with more room, all its classes, the images before and after.
if (byId("viewer")) {
  const dialog = byId("viewer");
  const state = { place: 0, order: [], map: null };

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
        nameOf(index),
        make("span", { class: "soft" }, percent(share)),
      );
      button.addEventListener("click", () => explorer.toggleMap(index));
      return button;
    });
    return make(
      "div",
      { class: "all-maps" },
      make("h3", {}, "Maps"),
      make("p", { class: "soft" }, "Each class with its best cell’s probability."),
      make("div", { class: "map-buttons" }, ...buttons),
    );
  };
  const switches = () => {
    const copies = [...document.querySelectorAll(".gallery-controls .switch")].map((one) => {
      const copy = one.cloneNode(true);
      const layer = copy.querySelector("input");
      layer.checked = one.querySelector("input").checked;
      layer.addEventListener("change", () => setLayer(layer.dataset.layer, layer.checked));
      return copy;
    });
    return make("div", { class: "bar" }, ...copies);
  };
  const heading = (image, step) => {
    const place = state.order.indexOf(state.place);
    const go = (text, by) => {
      const button = make("button", { type: "button", class: "quiet", "data-step": by }, text);
      button.disabled = place + by < 0 || place + by >= state.order.length;
      button.addEventListener("click", () => step(by));
      return button;
    };
    const close = make("button", { type: "button", class: "quiet close" }, "Close");
    close.addEventListener("click", () => dialog.close());
    return make(
      "header",
      {},
      make("h2", { title: image.name }, image.name),
      make("span", { class: "soft" }, `${place + 1} of ${state.order.length}`),
      go("Previous", -1),
      go("Next", 1),
      close,
    );
  };
  const story = (image) => {
    const answer = answerOf(image);
    return make(
      "div",
      { class: "story" },
      make("p", {}, make("span", { class: "soft" }, "Label "), make("b", {}, labelsOf(image))),
      answer === null ? null : make("p", {}, make("span", { class: "soft" }, "Answer "), make("b", {}, nameOf(answer)), ` ${percent(image.prediction[0][1])}`),
      make("p", {}, chipOf(image, true)),
      image.cause ? make("p", { class: "soft" }, CAUSES[image.cause] || "") : null,
    );
  };

  const render = (focus) => {
    const image = images[state.place];
    const maps = [];
    const explorer = new Explorer(image, {
      room: room(),
      count: 8,
      onMap: (index) => {
        state.map = index;
        for (const button of maps) button.setAttribute("aria-pressed", String(Number(button.dataset.class) === index));
      },
    });
    const all = classButtons(explorer);
    if (all) maps.push(...all.querySelectorAll("button"));
    const step = (by) => {
      state.place = state.order[state.order.indexOf(state.place) + by];
      render(by);
    };
    dialog.replaceChildren(
      heading(image, step),
      make(
        "div",
        { class: "viewer-body" },
        make("div", { class: "viewer-photo" }, explorer.element, explorer.legend, switches()),
        make("div", { class: "viewer-side" }, story(image), explorer.panel.element, all),
      ),
    );
    if (state.map !== null) explorer.setMap(state.map);
    const target = focus && dialog.querySelector(`[data-step="${focus}"]:not(:disabled)`);
    (target || dialog.querySelector(".stage[tabindex]") || dialog.querySelector(".close")).focus();
  };

  openViewer = (place, order, map) => {
    Object.assign(state, { place, order: [...order], map });
    dialog.showModal();
    render(0);
  };
  dialog.addEventListener("close", () => dialog.replaceChildren());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // the backdrop
  });
}
