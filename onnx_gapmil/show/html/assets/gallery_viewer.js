// One image of the audit at large: what the audit says of it beside what can be touched.
if (byId("viewer")) {
  const answers = new WeakMap();
  const [head] = data.models[0].heads;
  const answer = (image) => {
    if (!answers.has(image)) answers.set(image, Answer.ofMaps(head, image));
    return answers.get(image);
  };
  // The map that the gallery lays over it.
  const usual = (image) => {
    const found = mapFor(image, gallery.map);
    return found === null ? (gallery.map === "none" ? null : undefined) : Array.isArray(found) ? { first: found[0], second: found[1] } : { index: found };
  };
  const overlap = make("p", { class: "soft overlap" });
  const said = make("div", { class: "story" });
  const below = make("div", { class: "below" }); // what lies over the photo, and how well the boxes fit
  const told = ([view], image) => {
    overlap.textContent = "";
    if (!view.boxes.length || !view.stage.grid) return;
    const own = (image.boxes || []).filter((_, place) => !view.stage.isOther(place));
    const objects = boxesOnMap(own, view.stage.window);
    const best = objects.length ? Math.max(...view.boxes.flatMap((box) => objects.map((object) => overlapOf(box, object)))) : null;
    const fits = best === null ? "" : `; the best overlaps a box of the label by ${best.toFixed(2)} (intersection over union)`;
    overlap.textContent = `${plural(view.boxes.length, "box", "boxes")} at this threshold${fits}.`;
  };
  const story = (image) => {
    const first = answerOf(image);
    return [
      make("p", {}, make("span", { class: "soft" }, "Label "), make("b", {}, ...(image.labels.length ? namesOf(image.labels) : ["none"]))),
      isSeveral(image) ? make("p", {}, make("span", { class: "soft" }, "Present "), make("b", {}, ...(image.present.length ? namesOf(image.present) : ["none"]))) : first === null ? null : make("p", {}, make("span", { class: "soft" }, "Answer "), make("b", {}, isolated(nameOf(first))), ` ${percent(image.prediction[0][1])}`),
      make("p", {}, chipOf(image, true)),
      image.cause ? make("p", { class: "soft" }, CAUSES[image.cause] || "") : null,
    ].filter(Boolean);
  };
  const viewer = new Viewer({
    dialog: byId("viewer"),
    images,
    touch: (within) => touchOf({ models: data.models, address: within, answerOf: answer, usual, cutAt: data.cuts ? data.cuts.threshold : 0.5, rendered: (views) => told(views, images[viewer.place]) }),
    order: () => gallery.found,
    story,
    tell(touch, nodes) {
      const [view] = touch.views;
      said.replaceChildren(...nodes);
      view.readings.prepend(said);
      below.replaceChildren(layerSwitches(), overlap);
      view.photoSide.append(below);
    },
    closed(place) {
      const card = gallery.bring ? gallery.bring(place) : null;
      if (card) card.larger.focus();
    },
  });
}
