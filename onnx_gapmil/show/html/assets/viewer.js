// One image of a report at large, in a dialog, where it can be touched as on the page of photos; the images before and
// after it. What is chosen there stands in the address too, and is no step for the back button, which closes it.
const cellText = (cell, grid) => (cell === null || !grid ? "" : `${Math.floor(cell / grid.columns)},${cell % grid.columns}`);

class Viewer {
  // `touch(address)` makes what is touched, once; `order()` are the places of the images that are turned through;
  // `story(image)` what the report says of one, put where `tell(touch, nodes)` puts it; `closed(place)` has the focus.
  constructor({ dialog, images, touch, order, tell, story, closed }) {
    Object.assign(this, { dialog, images, make: touch, order, tell, story, closed, place: -1, focus: 0, touch: null });
    address.listen((state) => this.follow(state));
    dialog.addEventListener("close", () => this.onClose());
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close(); // the backdrop
    });
    // On the photo the arrows move from cell to cell, and keep that for themselves.
    dialog.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select")) return;
      const by = { ArrowLeft: -1, PageUp: -1, ArrowRight: 1, PageDown: 1 }[event.key];
      if (!by) return;
      this.step(by);
      event.preventDefault();
    });
    let width = window.innerWidth;
    window.addEventListener("resize", () => {
      if (window.innerWidth === width || !dialog.open) return; // a phone's bars come and go
      width = window.innerWidth;
      this.touch.fit();
    });
  }

  // The report's address in the words of what is touched.
  get within() {
    const named = { map: "over", find: "among" };
    return {
      get state() {
        return { ...address.state, head: "", map: address.state.over, find: address.state.among };
      },
      set(changes, options) {
        const own = Object.fromEntries(Object.entries(changes).map(([key, value]) => [named[key] ?? key, value]));
        address.set(own, { ...options, replace: true });
      },
    };
  }

  follow({ image }) {
    const place = image === null ? -1 : this.images.findIndex((one) => one.name === image);
    if (place < 0) {
      if (this.dialog.open) this.dialog.close();
      return;
    }
    if (!this.dialog.open) {
      this.focus = 0;
      this.place = -1;
      this.dialog.showModal();
    }
    this.touch ??= this.make(this.within);
    if (place !== this.place) this.turn(place);
    this.touch.render(this.within.state);
  }

  turn(place) {
    const image = this.images[place];
    this.place = place;
    this.touch.show(image);
    this.dialog.replaceChildren(this.heading(image), make("div", { class: "viewer-body" }, this.touch.element));
    this.tell(this.touch, this.story(image));
    this.dialog.scrollTop = 0;
    const target = this.focus && this.dialog.querySelector(`[data-step="${this.focus}"]:not(:disabled)`);
    (target || this.dialog.querySelector(".close")).focus();
  }

  // The images before and after are those of the gallery's choice.
  get listed() {
    const order = this.order();
    return order.includes(this.place) ? order : [...this.images.keys()];
  }

  step(by, byButton = false) {
    const next = this.listed[this.listed.indexOf(this.place) + by];
    if (next === undefined) return;
    this.focus = byButton ? by : 0;
    const { over } = address.state;
    address.set({ image: this.images[next].name, cell: "", rect: "", over: /^\d+$/.test(over) ? "" : over }, { replace: true });
  }

  heading(image) {
    const { listed } = this;
    const place = listed.indexOf(this.place);
    const go = (text, by, key) => {
      const button = make("button", { type: "button", class: "quiet", "data-step": by, "aria-keyshortcuts": key, title: key }, text);
      button.disabled = listed[place + by] === undefined;
      button.addEventListener("click", () => this.step(by, true));
      return button;
    };
    const close = make("button", { type: "button", class: "quiet close" }, "Close");
    close.addEventListener("click", () => this.dialog.close());
    return make(
      "header",
      {},
      make("h2", { title: image.name }, isolated(image.name)),
      make("span", { class: "soft" }, `${(place + 1).toLocaleString("en")} of ${listed.length.toLocaleString("en")}`),
      go("Previous", -1, "ArrowLeft"),
      go("Next", 1, "ArrowRight"),
      close,
    );
  }

  onClose() {
    if (this.dialog.open) return; // the browser says so in a later task: a step forward may have opened it again
    this.dialog.replaceChildren();
    if (address.state.image !== null) {
      const { cut } = address.state; // a threshold holds for all photos
      address.back({ image: null, cell: "", rect: "", over: "", pins: "", among: "" }, { cut });
    }
    this.closed(this.place);
  }
}

// The switches of what lies over the photos, once more.
function layerSwitches() {
  const copies = [...document.querySelectorAll(".gallery-controls .switch:has([data-layer])")].map((one) => {
    const copy = one.cloneNode(true);
    const layer = copy.querySelector("input");
    layer.checked = one.querySelector("input").checked;
    layer.addEventListener("change", () => setLayer(layer.dataset.layer, layer.checked));
    return copy;
  });
  return make("div", { class: "bar layers" }, ...copies);
}

// What lies over the photos; a switch in the dialog and the one above the gallery are one.
function setLayer(name, on) {
  document.body.classList.toggle(`without-${name}`, !on);
  for (const layer of document.querySelectorAll(`[data-layer="${name}"]`)) layer.checked = on;
}
