// Photos that are dropped, pasted or chosen go to the server that this page is from, and their answers come back.
class Live {
  constructor(onPhoto) {
    this.onPhoto = onPhoto;
    this.status = make("p", { class: "live-status", role: "status", id: "live-status" });
    this.file = make("input", { type: "file", accept: "image/*", multiple: true, class: "unseen", id: "file", "aria-label": "Choose photos", tabindex: "-1" });
    this.button = make("button", { type: "button", class: "quiet add", id: "add" }, "Add photos");
    this.button.addEventListener("click", () => this.file.click());
    this.file.addEventListener("change", () => {
      this.send([...this.file.files]);
      this.file.value = "";
    });
    this.element = make("div", { class: "live controls" }, this.button, this.file, make("span", { class: "soft" }, "or drop or paste them here"), this.status);
    this.veil = make("div", { class: "veil", hidden: true }, "Drop the photos");
    document.body.append(this.veil);
    this.listen();
  }

  listen() {
    const carries = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
    for (const name of ["dragenter", "dragover"]) {
      window.addEventListener(name, (event) => {
        if (!carries(event)) return;
        event.preventDefault();
        this.veil.hidden = false;
      });
    }
    window.addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) this.veil.hidden = true;
    });
    window.addEventListener("drop", (event) => {
      this.veil.hidden = true;
      if (!carries(event)) return;
      event.preventDefault();
      this.send([...event.dataTransfer.files]);
    });
    window.addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length) this.send(files);
    });
  }

  async send(files) {
    for (const file of files) {
      if (file.size > data.live.most_bytes) {
        this.say(`${file.name}: ${file.size.toLocaleString("en")} bytes are more than the ${data.live.most_bytes.toLocaleString("en")} that are taken.`);
        continue;
      }
      this.say(`${file.name} …`);
      const found = await this.answerOf(file.name, "photo", { method: "POST", body: file, headers: { "X-Photo-Name": encodeURIComponent(file.name), "Content-Type": "application/octet-stream" } });
      if (found) this.onPhoto(found, true);
    }
  }

  // The photos that the server was started with.
  async ask() {
    for (const [place, name] of data.live.waiting.entries()) {
      this.say(`${name} …`);
      const found = await this.answerOf(name, `photo/${place}`, {});
      if (found) this.onPhoto(found, false);
    }
  }

  async answerOf(name, path, options) {
    try {
      const response = await fetch(path, { ...options, cache: "no-store" });
      const found = await response.json();
      if (response.ok) {
        this.say("");
        return found;
      }
      this.say(found.error.message);
    } catch {
      this.say(`${name}: the server does not answer; is it still running?`);
    }
    return null;
  }

  say(text) {
    this.status.textContent = text;
  }
}
