// What holds of everything on the page: verdict, proofs, preprocessing; and the head's chain as `inspect` tells it.

// The permanent line of a model's head, and of its answer to the photo.
function standingOf(model, head, answer) {
  const parts = [
    ["head", [isolated(head.output), `, ${head.verdict}`], head.conditional ? "doubt" : ""],
    ...head.proofs.map(({ name, passed, text }) => [name, text, passed === true ? "passed" : passed === false ? "failed" : ""]),
    head.position_dependent ? ["cells", "each place has weights of its own: a cell's logit is its share of the image's, not what the model would say of it elsewhere", "doubt"] : null,
    head.conditional ? ["cells", "a cell's logits depend on the whole photo too, not on that cell alone", "doubt"] : null,
    head.class_token ? ["placeless", answer && answer.placeless !== null ? `${percent(answer.placeless)} of this answer has no place, and is spread evenly` : "how much of the answer has no place is not known", "doubt"] : null,
    head.pool !== "mean" ? ["pool", `the image's logits are made of the cells' by ${poolName(head.pool)}`, ""] : null,
    ["preprocessing", [model.preprocess, `; ${model.preprocess_source}`, model.guess ? make("b", {}, `. ${model.guess[0].toUpperCase()}${model.guess.slice(1)}`) : ""], model.guess ? "failed" : ""],
    ["classes", model.names_source, ""],
    answer ? ["digits", `cells are kept in 16 bits, off by ${answer.error.toPrecision(1)} at the most${answer.isWhole ? "" : `, of ${answer.classes.length.toLocaleString("en")} of ${head.classes.toLocaleString("en")} classes`}`, ""] : null,
    ["ran on", model.provider, ""],
  ];
  return make("dl", { class: "standing" }, ...parts.filter(Boolean).map(([name, text, state]) => make("div", { class: state || null }, make("dt", {}, name), make("dd", {}, ...[text].flat()))));
}

// The same in one line, which stands below every photo.
function lineOf(model, answer) {
  const { head } = answer;
  const signs = { true: "✓ ", false: "✗ ", null: "" };
  const parts = [
    [isolated(head.output), `, ${head.verdict}`],
    ...head.proofs.map(({ name, passed, text }) => [`${signs[passed]}${name} ${text}`]),
    head.class_token ? [`${answer.placeless === null ? "an unknown share" : percent(answer.placeless)} without a place`] : null,
    [`${model.preprocess}; ${model.preprocess_source}`],
    model.guess ? [make("b", {}, model.guess)] : null,
  ];
  return parts.filter(Boolean).flatMap((part, place) => (place ? [" · ", ...part] : part));
}

function chainOf(head) {
  const line = (step) => make("tr", { class: step.conditional ? "conditional" : null }, make("th", { scope: "row" }, step.op), make("td", {}, isolated(step.node)), make("td", { class: "shape" }, step.shape), make("td", {}, step.detail));
  const titles = ["operator", "node", "gives", "what it does to the lift"].map((text) => make("th", { scope: "col" }, text));
  return make(
    "details",
    { class: "chain" },
    make("summary", {}, "The head, operator by operator"),
    make("p", {}, `The feature grid: ${head.feature_grid || "not recorded"}.${head.note ? ` ${head.note}.` : ""}`),
    make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "The head, operator by operator" }, make("table", {}, make("thead", {}, make("tr", {}, ...titles)), make("tbody", {}, ...head.chain.map(line)))),
  );
}
