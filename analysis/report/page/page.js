// ---- what every part of the page uses
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

function element(tag, text, attributes = {}) {
  const made = Object.assign(document.createElement(tag), attributes);
  if (text !== undefined) made.textContent = text;
  return made;
}
function options(select, values, label = (value) => value) {
  select.replaceChildren(...values.map((value) => element("option", label(value), { value })));
}
function tableRow(cells, tag = "td", classOf = (place) => (place ? "number" : "")) {
  const row = element("tr");
  row.append(...cells.map((cell, place) => element(tag, String(cell ?? ""), { className: classOf(place) })));
  return row;
}

// A column is a list, or {names, codes} for text that repeats.
function column(frame, name) {
  const found = frame[name];
  return found.names ? found.codes.map((code) => (code < 0 ? null : found.names[code])) : found;
}
function rowsOf(frame) {
  const names = Object.keys(frame), columns = names.map((name) => column(frame, name));
  return columns[0].map((_, row) => Object.fromEntries(names.map((name, index) => [name, columns[index][row]])));
}
const GROWTHS = ["random", "gradient"];
const byGrowth = (growths) => [...GROWTHS.filter((growth) => growths.includes(growth)), ...growths.filter((growth) => !GROWTHS.includes(growth))];
const unique = (values) => [...new Set(values.filter((value) => value !== null))].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
function grouped(items, keyOf) {
  const found = new Map();
  for (const item of items) {
    const key = keyOf(item);
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(item);
  }
  return found;
}
const lineLabel = (line) => styleOf(line).label.split(", ")[0];

// ---- the state in the address: what a link to this page shows
const state = () => new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
function hashWith(changes) {
  const found = state();
  for (const [key, value] of Object.entries(changes)) {
    if (value === null || value === "" || value === undefined) found.delete(key);
    else found.set(key, value);
  }
  return `#${found}`;
}
const writeState = (changes) => history.replaceState(null, "", location.pathname + location.search + hashWith(changes));
async function copyLink(button, section) {
  const link = location.href.split("#")[0] + hashWith({ at: section }), before = button.textContent;
  try {
    await navigator.clipboard.writeText(link);
    button.textContent = "copied";
    setTimeout(() => { button.textContent = before; }, 1500);
  } catch {
    window.prompt("The link:", link); // no permission to write to the clipboard
  }
}
for (const link of document.querySelectorAll("nav a")) {
  link.addEventListener("click", (event) => {
    event.preventDefault(); // the address keeps the state
    document.querySelector(link.getAttribute("href")).scrollIntoView();
  });
}

// ---- overview, findings, diagrams
$("origin").textContent = data.origin;
for (const [value, what] of data.tiles) {
  const tile = element("div", undefined, { className: "tile" });
  tile.append(element("b", value), element("span", what));
  $("tiles").append(tile);
}
const statuses = element("table");
statuses.append(tableRow(data.statuses.columns, "th"), ...data.statuses.rows.map((cells) => tableRow(cells)));
$("statuses").append(statuses);
$("finding-list").append(...data.findings.map((sentence) => element("li", sentence)));
$("setup-finding-list").append(...data.setup_findings.map((sentence) => element("li", sentence)));
$("setup-findings").hidden = data.setup_findings.length === 0;
$("setup-findings").open = data.setup_findings.length < 8;
for (const image of data.diagrams) $("diagrams").append(element("img", undefined, { src: image.source, alt: image.about }));
for (const image of data.costs.images) {
  const figure = element("figure");
  figure.append(element("img", undefined, { src: image.source, alt: image.about }), element("figcaption", image.about));
  $("cost-images").append(figure);
}
$("cost-findings").append(...data.costs.findings.map((sentence) => element("li", sentence)));
$("costs").hidden = $("costs-link").hidden = !data.costs.images.length;
$("rank-notes").append(...data.rank_notes.map((sentence) => element("p", sentence)));
$("notes").append(...data.notes.map((sentence) => element("p", sentence)));
