// Data, and small helpers. Text from the data only ever becomes text nodes, never HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const images = (data.gallery && data.gallery.images) || [];

const byId = (id) => document.getElementById(id);

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") element.className = value;
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// A name from the data: its direction of writing stays its own.
const isolated = (text, attributes = {}) => make("bdi", attributes, text);

function draw(name, attributes = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}

// A class by its name on this page; `fullName` has its synonyms, too.
const nameOf = (index) => (data.short && Object.hasOwn(data.short, index) ? String(data.short[index]) : fullName(index));

function fullName(index) {
  const name = Object.hasOwn(data.names, index) ? data.names[index] : null;
  return name === null || name === undefined || name === "" ? `class ${index}` : String(name);
}

// The names of several classes, each isolated, as nodes with commas between.
function namesOf(indices) {
  return indices.flatMap((index, place) => (place ? [", ", isolated(nameOf(index))] : [isolated(nameOf(index))]));
}

// 0.775 as "77.5 %"; small shares keep a digit that says something.
function percent(share) {
  if (share === null || share === undefined) return "–";
  const value = 100 * share;
  if (value > 0 && value < 0.1) return "<0.1\u00a0%";
  const text = value.toFixed(1);
  return `${text.endsWith(".0") ? text.slice(0, -2) : text}\u00a0%`;
}

const plural = (value, one, many) => `${value.toLocaleString("en")} ${value === 1 ? one : many || `${one}s`}`;

function announce(text) {
  byId("announcer").textContent = text;
}

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64 || "");
  const text = atob(base64 || "");
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place += 1) bytes[place] = text.charCodeAt(place);
  return bytes;
}
