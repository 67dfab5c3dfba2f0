// A list of many cards of one height of which only those near the window exist: those that leave it are filled anew.
class Recycler {
  // `make` gives a card {element, fill(place)}; `least` is its least width and `gap` [across, down] in CSS pixels.
  constructor(list, { make: makeCard, least, gap }) {
    Object.assign(this, { list, makeCard, least, gap });
    this.items = [];
    this.used = new Map(); // cards by their place among the items
    this.free = [];
    this.waiting = false;
    this.paper = 0;
    window.addEventListener("scroll", () => this.soon(), { passive: true });
    new ResizeObserver(() => {
      if (list.clientWidth !== this.measured) this.show(this.items);
    }).observe(list);
  }

  // Show these; what is near the window is filled at once.
  show(items) {
    const before = this.items;
    this.items = items;
    for (const [place, card] of [...this.used]) {
      if (items[place] === before[place]) continue; // as while somebody types: most stay as they are
      this.used.delete(place);
      this.release(card);
    }
    this.measure();
    for (const [place, card] of this.used) this.put(card, place);
    this.update();
  }

  get cards() {
    return [...this.used.values()];
  }

  // All cards are as high as the first one.
  measure() {
    this.measured = this.list.clientWidth;
    this.columns = Math.max(1, Math.floor((this.measured + this.gap[0]) / (this.least + this.gap[0])));
    this.width = (this.measured - this.gap[0] * (this.columns - 1)) / this.columns;
    this.step = 1;
    if (this.items.length) {
      const card = this.used.get(0) || this.take(0);
      if (!card.element.isConnected) this.list.append(card.element);
      this.step = Math.ceil(card.element.getBoundingClientRect().height) + this.gap[1];
    }
    const rows = Math.ceil(this.items.length / this.columns);
    this.list.style.height = `${Math.max(0, rows * this.step - this.gap[1])}px`;
  }

  soon() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.update();
    });
  }

  release(card) {
    card.element.remove();
    this.free.push(card);
  }

  take(place) {
    const card = this.free.pop() || this.makeCard();
    this.put(card, place);
    card.fill(this.items[place]);
    this.used.set(place, card);
    return card;
  }

  put(card, place) {
    card.element.style.width = `${this.width}px`;
    card.element.style.transform = `translate(${(place % this.columns) * (this.width + this.gap[0])}px, ${Math.floor(place / this.columns) * this.step}px)`;
    card.element.setAttribute("aria-posinset", place + 1);
    card.element.setAttribute("aria-setsize", this.items.length);
  }

  // The places that are to exist: near the window, at both ends, and the card that has the focus.
  wanted() {
    if (this.paper) return new Set(Array.from({ length: Math.min(this.paper, this.items.length) }, (_, place) => place));
    const top = -this.list.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor((top - 0.6 * innerHeight) / this.step)) * this.columns;
    const last = Math.min(this.items.length, (Math.floor((top + 1.6 * innerHeight) / this.step) + 1) * this.columns);
    const places = new Set();
    for (let place = first; place < last; place += 1) places.add(place);
    // The keyboard comes to the list from above and from below.
    for (const end of this.items.length ? [0, this.items.length - 1] : []) {
      const row = Math.floor(end / this.columns) * this.columns;
      for (let place = row; place < Math.min(row + this.columns, this.items.length); place += 1) places.add(place);
    }
    for (const [place, card] of this.used) if (card.element.contains(document.activeElement)) places.add(place);
    return places;
  }

  update() {
    const wanted = this.wanted();
    for (const [place, card] of [...this.used]) {
      if (wanted.has(place)) continue;
      this.used.delete(place);
      this.release(card);
    }
    // In the list's order, so that the keyboard walks through it; cards that stay are not moved.
    let next = this.list.firstChild;
    for (const place of [...wanted].sort((a, b) => a - b)) {
      const { element } = this.used.get(place) || this.take(place);
      if (element === next) next = next.nextSibling;
      else this.list.insertBefore(element, next);
    }
  }

  // Bring a place into view and give its card; null if it is not among the items.
  bring(item) {
    const place = this.items.indexOf(item);
    if (place < 0) return null;
    if (!this.used.has(place)) {
      const top = this.list.getBoundingClientRect().top + scrollY + Math.floor(place / this.columns) * this.step;
      scrollTo({ top: top - 80, behavior: "instant" });
      this.update();
    }
    return this.used.get(place);
  }

  // For paper the first so many exist, and lie in the flow of the page.
  print(most) {
    this.paper = most;
    this.list.classList.toggle("on-paper", most > 0);
    this.update();
  }
}
