// What the reader looks at stands in the address, after the #: a reload, the back button and a link that is sent on all
// show the same. Addresses without "=" are the page's own sections.
const address = (() => {
  const DEFAULTS = data.address; // what a page may say there, the first of it always
  const KEYS = Object.keys(DEFAULTS);
  const listeners = [];

  const decoded = (text) => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text; // a lone % that somebody typed
    }
  };
  const isSection = () => location.hash.length > 1 && !location.hash.includes("=");
  const read = () => {
    const state = { ...DEFAULTS };
    for (const part of location.hash.slice(1).split("&")) {
      const at = part.indexOf("=");
      const key = part.slice(0, at);
      if (at > 0 && KEYS.includes(key)) state[key] = decoded(part.slice(at + 1));
    }
    return state;
  };
  const written = (state) => {
    const parts = KEYS.filter((key) => state[key] !== null && state[key] !== "" && state[key] !== DEFAULTS[key]);
    return `#${parts.map((key) => `${key}=${encodeURIComponent(state[key])}`).join("&") || `${KEYS[0]}=${DEFAULTS[KEYS[0]]}`}`;
  };

  let state = read();
  let waiting = 0;
  const tell = () => {
    for (const listener of listeners) listener(state);
  };
  const onAddress = () => {
    state = isSection() ? { ...state, image: null } : read();
    tell();
  };
  window.addEventListener("popstate", onAddress);

  return {
    get state() {
      return state;
    },
    listen(listener) {
      listeners.push(listener);
    },
    // With `replace` no step for the back button is made; `later` is for typing, as browsers bound how often an address
    // may change.
    set(changes, { replace = false, later = false } = {}) {
      const next = { ...state, ...changes };
      if (KEYS.every((key) => next[key] === state[key])) return;
      state = next;
      clearTimeout(waiting);
      const write = () => {
        if (replace) history.replaceState(history.state, "", written(state));
        else history.pushState({ made: true }, "", written(state));
      };
      if (later) waiting = setTimeout(write, 300);
      else write();
      tell();
    },
    // Undo the last step, if this page made it; the reader's own links stay. The step before knows nothing of what was
    // chosen since and is `kept`.
    back(changes, kept) {
      if (!(history.state && history.state.made)) {
        this.set(changes, { replace: true });
        return;
      }
      window.addEventListener("popstate", () => this.set(kept, { replace: true }), { once: true });
      history.back();
    },
    start: tell,
  };
})();
