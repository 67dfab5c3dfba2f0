// Which images the reader has chosen, and what a file says of them.
const CAUSES = {
  dilution: "The label wins cells on the object, but few, or it shares the object with the class answered.",
  distraction: "The label wins cells on the object; most cells of the class answered lie elsewhere.",
  absent: "No cell on the object has the label on top.",
};

const answerOf = (image) => ((image.prediction || [])[0] || [null])[0];
const labelsOf = (image) => image.labels.map(fullName).join(", ") || "no label";

// Of several labels the one that the image itself ranks highest.
function labelOf(image) {
  const ranked = (image.prediction || []).map(([index]) => index).find((index) => image.labels.includes(index));
  return ranked ?? image.labels[0] ?? null;
}

// The map that the gallery lays over an image; of a right answer the difference is to the runner-up.
function mapFor(image, kind) {
  if (kind === "label") return labelOf(image);
  if (kind === "answer") return answerOf(image);
  if (kind !== "difference") return null;
  const [label, answer] = [labelOf(image), answerOf(image)];
  if (label !== answer) return label === null || answer === null ? null : [label, answer];
  const second = ((image.prediction || [])[1] || [null])[0];
  return second === null ? null : [answer, second];
}

// Of a head whose classes are present each by itself: whether it says the labels, no more and no fewer.
const isSeveral = (image) => Array.isArray(image.present);
const isExact = (image) => image.labels.length === image.present.length && image.labels.every((index) => image.present.includes(index));

const OUTCOMES = {
  all: () => true,
  right: (image) => image.right,
  wrong: (image) => !image.right,
  recoverable: (image) => image.recoverable,
  suspect: (image) => Boolean(image.suspect),
  exact: (image) => isExact(image),
  missed: (image) => image.labels.some((index) => !image.present.includes(index)),
  extra: (image) => image.present.some((index) => !image.labels.includes(index)),
};

const wordsOf = new WeakMap();
function hasWords(image, words) {
  if (!words) return true;
  if (!wordsOf.has(image)) {
    const answer = answerOf(image);
    wordsOf.set(image, [image.name, labelsOf(image), answer === null ? "" : fullName(answer)].join("\n").toLowerCase());
  }
  return wordsOf.get(image).includes(words);
}

// What an address asks for, as a test of an image.
function testOf(state) {
  const outcome = Object.hasOwn(OUTCOMES, state.outcome) ? OUTCOMES[state.outcome] : (image) => image.cause === state.outcome;
  const words = state.find.trim().toLowerCase();
  const index = state.class === null ? null : Number(state.class);
  const pair = state.pair === null ? null : state.pair.split(",").map(Number);
  return (image) =>
    outcome(image) &&
    (index === null || image.labels.includes(index)) &&
    (pair === null || (image.labels.includes(pair[0]) && answerOf(image) === pair[1])) &&
    (state.slice === null || (image.slices || []).includes(state.slice)) &&
    hasWords(image, words);
}

// What is chosen beside the outcome and the words, each with what takes it away again.
function chipsOf(state) {
  const chips = [];
  if (state.class !== null) chips.push({ key: "class", text: ["label ", isolated(nameOf(Number(state.class)))] });
  if (state.pair !== null) {
    const [label, answer] = state.pair.split(",").map(Number);
    chips.push({ key: "pair", text: [isolated(nameOf(label)), " answered as ", isolated(nameOf(answer))] });
  }
  if (state.slice !== null) chips.push({ key: "slice", text: [isolated(state.slice)] });
  return chips;
}

const HEADS = ["image", "label", "label_name", "answer", "answer_name", "probability", "right", "cause", "label_wins_a_cell_on_the_object", "suspect", "present"];

function rowOf(image) {
  const [answer, share] = (image.prediction || [])[0] || ["", ""];
  return [
    image.name,
    image.labels.join(" "),
    image.labels.map(fullName).join("; "),
    answer,
    answer === "" ? "" : fullName(answer),
    share,
    isSeveral(image) ? isExact(image) : image.right,
    image.cause || "",
    image.right ? "" : Boolean(image.recoverable),
    Boolean(image.suspect),
    (image.present || []).join(" "),
  ];
}
