// The page of photos: the strip, what is dropped on it, and the photo that can be touched.
{
  const { models, photos } = data;
  const main = byId("main");
  const photoOf = (state) => photos[Math.min(photos.length - 1, Math.max(0, Math.trunc(Number(state.photo)) || 0))];
  // Two models on the same cells have a difference; on others only `compare` puts both on common places.
  const change = models.length > 1 && {
    of: (_, [before, after], link) => ChangeAnswer.between(before, after, link),
    evidence: "New less old, of each class's logit.",
    absent: "No change is shown: the cells of the two models look at other places. The report of compare puts both on common ones.",
  };
  const touch = touchOf({ models, address, answerOf: answersAsKept(models), change: change || null });

  const strip = make("ul", { class: "strip", "aria-label": "Photos" });
  // Those that are there stay: their pictures would be decoded anew.
  const fillStrip = () => {
    strip.hidden = photos.length < 2;
    const item = (photo, place) => {
      const button = make("button", { type: "button", title: photo.name }, make("img", { src: String(photo.thumb).startsWith("data:image/") ? photo.thumb : null, alt: "", decoding: "async" }), isolated(photo.name, { class: "file" }));
      button.addEventListener("click", () => address.set({ photo: String(place), cell: "", rect: "", map: /^\d+$/.test(address.state.map) ? "" : address.state.map }));
      return make("li", {}, button);
    };
    const known = strip.children.length;
    strip.append(...photos.slice(known).map((photo, place) => item(photo, known + place)));
  };

  function render(state) {
    if (!photos.length) return;
    const photo = photoOf(state);
    touch.show(photo);
    touch.render(state);
    for (const [place, item] of [...strip.children].entries()) item.firstChild.setAttribute("aria-current", String(photos[place] === photo));
  }

  const body = make("div", { id: "body" }, touch.element);
  const welcome = make("p", { class: "welcome", id: "welcome" }, "Drop a photo on this page, paste one, or choose it: the model answers, and you can point at every cell of it.");
  const live = data.live
    ? new Live((photo, chosen) => {
        photos.push(photo);
        began();
        fillStrip();
        if (chosen) address.set({ photo: String(photos.length - 1), cell: "", rect: "" });
        render(address.state);
      })
    : null;
  function began() {
    body.hidden = !photos.length;
    welcome.hidden = photos.length > 0 || !live;
  }

  main.append(...[live && live.element, strip, welcome, body].filter(Boolean));
  began();
  fillStrip();
  address.listen(render);
  address.start();
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return; // a phone's bars come and go
    width = window.innerWidth;
    touch.fit();
  });
  if (live) live.ask();
}
