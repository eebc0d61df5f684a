"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const PAGE = 50;
const LAYOUT = { margin: { l: 60, r: 15, t: 34, b: 48 }, font: { family: "system-ui, sans-serif", size: 13 },
  hovermode: "closest", showlegend: false, paper_bgcolor: "white", plot_bgcolor: "white" };
const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
const GRID = { gridcolor: "#e8ecf0", zeroline: false };

function element(tag, text, attributes = {}) {
  const made = Object.assign(document.createElement(tag), attributes);
  if (text !== undefined) made.textContent = text;
  return made;
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

// ---- overview, findings, diagrams
$("origin").textContent = data.origin;
for (const [value, what] of data.tiles) {
  const tile = element("div", undefined, { className: "tile" });
  tile.append(element("b", value), element("span", what));
  $("tiles").append(tile);
}
const statuses = element("table");
statuses.append(...[data.statuses.columns, ...data.statuses.rows].map((cells, index) => {
  const row = element("tr");
  row.append(...cells.map((cell, place) => element(index ? "td" : "th", String(cell), { className: place ? "number" : "" })));
  return row;
}));
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

// ---- charts with a choice of setup, growth, metric, criteria
const cells = rowsOf(data.cells), periods = rowsOf(data.periods);
const order = Object.keys(data.lines);

function options(select, values, label = (value) => value) {
  select.replaceChildren(...values.map((value) => element("option", label(value), { value })));
}
options($("setup"), unique(cells.map((cell) => cell.setup)));
options($("metric"), Object.keys(data.metrics), (name) => data.metrics[name]);
for (const line of order) {
  const label = element("label"), box = element("input", undefined, { type: "checkbox", checked: true, value: line });
  label.style.color = data.lines[line].color;
  label.append(box, " " + data.lines[line].label);
  $("lines").append(label);
}
const shown = () => new Set([...$("lines").querySelectorAll("input:checked")].map((box) => box.value));

function trace(line, points, x, y, scale) {
  const style = data.lines[line], sorted = points.filter((point) => point[y] !== null).sort((a, b) => a[x] - b[x]);
  return { type: "scatter", mode: "lines+markers", name: style.label, x: sorted.map((point) => point[x]),
    y: sorted.map((point) => scale * point[y]), customdata: sorted.map((point) => [scale * (point[y + "_std"] ?? 0), point[y + "_n"]]),
    error_y: { type: "data", array: sorted.map((point) => scale * (point[y + "_std"] ?? 0)), thickness: 1, width: 3 },
    line: { color: style.color, dash: line === "static" ? "dot" : "solid", width: 2 }, marker: { color: style.color, size: 6, symbol: style.symbol },
    hovertemplate: `<b>${style.label}</b> at %{x}<br>%{y:.2f} ± %{customdata[0]:.2f} (%{customdata[1]} runs)<extra></extra>` };
}
function chart(id, points, x, y, titles, scale, level) {
  const traces = order.filter((line) => shown().has(line) && line !== "dense" && line !== level?.line)
    .map((line) => trace(line, points.filter((point) => point.line === line), x, y, scale)).filter((made) => made.x.length);
  const ticks = unique(points.filter((point) => point.line !== "dense").map((point) => point[x]));
  const shapes = [], annotations = [];
  if (level && level.value !== undefined && level.value !== null && shown().has(level.line)) {
    const style = data.lines[level.line];
    shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: scale * level.value, y1: scale * level.value,
      line: { color: style.color, width: 2, dash: level.line === "dense" ? "dash" : "dot" } });
    annotations.push({ xref: "paper", x: 0, xanchor: "left", y: scale * level.value, yanchor: "bottom", showarrow: false,
      text: `${style.label} ${(scale * level.value).toFixed(2)}`, font: { color: style.color, size: 12 } });
    traces.push({ type: "scatter", mode: "lines", x: [ticks[0] ?? 0.1, ticks.at(-1) ?? 1], y: [scale * level.value, scale * level.value],
      hoverinfo: "skip", opacity: 0 });
  }
  Plotly.react(id, traces, { ...LAYOUT, title: { text: titles.title, font: { size: 14 } }, shapes, annotations,
    xaxis: { ...GRID, type: "log", title: { text: titles.x }, tickvals: ticks, ticktext: ticks.map(String) },
    yaxis: { ...GRID, title: { text: titles.y } } }, CONFIG);
}
function drawAccuracy() {
  const setup = $("setup").value, growth = $("growth").value, metric = $("metric").value;
  const here = cells.filter((cell) => cell.setup === setup && (cell.growth === null || cell.growth === growth));
  const dense = here.find((cell) => cell.line === "dense");
  chart("accuracy-chart", here, "density", metric,
    { title: `${setup}${growth ? `, ${growth} growth` : ""}`, x: "density (log scale)", y: `${data.metrics[metric]} (%)` }, 100,
    { line: "dense", value: dense?.[metric] });
}
function drawPeriods() {
  const setup = $("setup").value, growth = $("growth").value, density = Number($("period-density").value);
  const here = periods.filter((cell) => cell.setup === setup && cell.density === density);
  const dynamic = here.filter((cell) => cell.growth === growth);
  const statics = here.find((cell) => cell.line === "static");
  $("period-none").hidden = dynamic.length > 0;
  $("period-none").textContent = "Trained with several update periods: " + (unique(periods.map((cell) => cell.setup)).join(", ") || "no setup") + ".";
  $("period-choice").hidden = dynamic.length === 0;
  for (const id of ["period-chart", "itop-chart"]) $(id).hidden = dynamic.length === 0;
  if (!dynamic.length) return;
  const title = `${setup}, ${growth} growth, density ${density}`, x = "update period Δt (steps, log scale)";
  chart("period-chart", dynamic, "update_period", "val_acc", { title, x, y: "validation accuracy (%)" }, 100, { line: "static", value: statics?.val_acc });
  chart("itop-chart", dynamic, "update_period", "itop_ratio", { title, x, y: "ITOP ratio" }, 1);
}
function chooseSetup() {
  const setup = $("setup").value, before = $("growth").value;
  const growths = unique(cells.filter((cell) => cell.setup === setup).map((cell) => cell.growth));
  options($("growth"), byGrowth(growths));
  if (growths.includes(before)) $("growth").value = before;
  options($("period-density"), unique(periods.filter((cell) => cell.setup === setup && cell.line !== "static").map((cell) => cell.density)));
  drawCharts();
}
function drawCharts() { drawAccuracy(); drawPeriods(); }
$("setup").addEventListener("change", chooseSetup);
for (const id of ["growth", "metric", "lines"]) $(id).addEventListener("change", drawCharts);
$("period-density").addEventListener("change", drawPeriods);

// ---- the table of runs
const COLUMNS = data.columns;
const table = Object.fromEntries(COLUMNS.map((spec) => [spec.name, column(data.runs, spec.name)]));
const total = table.run_id.length;
const text = (spec, value) => (value === null ? "" : spec.digits !== undefined ? (value * (spec.scale ?? 1)).toFixed(spec.digits) : String(value));
const searchable = Array.from({ length: total }, (_, row) =>
  COLUMNS.map((spec) => text(spec, table[spec.name][row])).join(" ").toLowerCase());
let sorting = null, descending = false, page = 0, visible = [];
const filters = {};

for (const spec of COLUMNS) {
  const head = element("th", spec.title, { className: spec.number ? "number" : "" });
  head.dataset.name = spec.name;
  head.addEventListener("click", () => {
    descending = sorting === spec.name ? !descending : Boolean(spec.number && spec.digits !== undefined);
    sorting = spec.name;
    refresh();
  });
  $("heads").append(head);
  const cell = element("th");
  if (spec.filter) {
    const select = element("select", undefined, { ariaLabel: `filter by ${spec.title}` });
    select.dataset.name = spec.name;
    const values = unique(table[spec.name]);
    select.append(element("option", "all", { value: "" }), ...values.map((value) => element("option", value, { value })));
    select.addEventListener("change", () => { filters[spec.name] = select.value; refresh(); });
    cell.append(select);
  }
  $("filters").append(cell);
}
function refresh() {
  const wanted = Object.entries(filters).filter(([, value]) => value !== "");
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  visible = [];
  for (let row = 0; row < total; row++) {
    if (wanted.every(([name, value]) => String(table[name][row]) === value) && words.every((word) => searchable[row].includes(word))) visible.push(row);
  }
  if (sorting) {
    const values = table[sorting], sign = descending ? -1 : 1;
    visible.sort((a, b) => {
      const left = values[a], right = values[b];
      if (left === null || right === null) return (left === null) - (right === null);
      return left < right ? -sign : left > right ? sign : a - b;
    });
  }
  for (const head of $("heads").children) head.ariaSort = head.dataset.name === sorting ? (descending ? "descending" : "ascending") : "none";
  page = 0;
  showPage();
}
function showPage() {
  const pages = Math.max(1, Math.ceil(visible.length / PAGE));
  page = Math.min(Math.max(page, 0), pages - 1);
  $("rows").replaceChildren(...visible.slice(page * PAGE, (page + 1) * PAGE).map((row) => {
    const made = element("tr");
    made.append(...COLUMNS.map((spec) => {
      const cell = element("td", undefined, { className: spec.number ? "number" : spec.name });
      const value = text(spec, table[spec.name][row]);
      if (spec.name === "run_id") cell.append(element("a", value, { href: `#run=${value}` }));
      else cell.textContent = value;
      return cell;
    }));
    return made;
  }));
  $("count").textContent = `${visible.length.toLocaleString("en")} of ${total.toLocaleString("en")} runs`;
  $("page").textContent = `page ${page + 1} of ${pages}`;
  $("previous").disabled = page === 0;
  $("next").disabled = page >= pages - 1;
}
$("search").addEventListener("input", refresh);
$("previous").addEventListener("click", () => { page--; showPage(); });
$("next").addEventListener("click", () => { page++; showPage(); });
$("reset").addEventListener("click", () => {
  $("search").value = "";
  for (const select of $("filters").querySelectorAll("select")) select.value = "";
  for (const name of Object.keys(filters)) delete filters[name];
  sorting = null;
  refresh();
});

// ---- the curves of one run: gzipped, unpacked when first asked for; see payload.py for the layout
let unpacked = null;
async function curves() {
  if (!unpacked) {
    const packed = Uint8Array.from(atob($("curves").textContent), (character) => character.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    unpacked = await new Response(stream).arrayBuffer();
  }
  return unpacked;
}
async function curvesOf(row) {
  const buffer = await curves(), { names, points } = data.curves, found = {};
  const ranges = new Float32Array(buffer, 0, total * names.length * 2);
  const levels = new Uint16Array(buffer, total * names.length * 8);
  names.forEach((name, index) => {
    const at = row * names.length + index, low = ranges[2 * at], high = ranges[2 * at + 1];
    found[name] = Array.from(levels.subarray(at * points, (at + 1) * points), (level) =>
      (level === 65535 ? null : low + ((high - low) * level) / 65534));
  });
  const kept = found.epoch.map((_, index) => index).filter((index) => found.epoch[index] !== null);
  return Object.fromEntries(names.map((name) => [name, kept.map((index) => found[name][index])]));
}
function drawRun(id, found, names, titles, scale) {
  const colors = ["#9aa5b1", "#1d2733"]; // no criterion's
  const traces = names.map((name, index) => ({ type: "scatter", mode: "lines+markers", name: name.startsWith("val") ? "validation" : "training",
    x: found.epoch.map(Math.round), y: found[name].map((value) => (value === null ? null : scale * value)), marker: { size: 4 }, line: { color: colors[index] } }));
  Plotly.react(id, traces, { ...LAYOUT, showlegend: true, legend: { orientation: "h", y: 1.14 }, xaxis: { ...GRID, title: { text: "epoch" } },
    yaxis: { ...GRID, title: { text: titles } } }, CONFIG);
}
async function showRun() {
  const wanted = new URLSearchParams(location.hash.slice(1)).get("run"), row = table.run_id.indexOf(wanted);
  $("run-panel").hidden = row < 0;
  if (row < 0) return;
  $("run-title").textContent = wanted;
  $("run-facts").textContent = COLUMNS.slice(1).map((spec) => [spec, text(spec, table[spec.name][row])])
    .filter(([, value]) => value !== "").map(([spec, value]) => `${spec.title}: ${value}`).join(" · ");
  const found = await curvesOf(row);
  drawRun("run-acc", found, ["train_acc", "val_acc"], found.epoch.length ? "accuracy (%)" : "no learning curve", 100);
  drawRun("run-loss", found, ["train_loss", "val_loss"], found.epoch.length ? "loss" : "no learning curve", 1);
  $("run-panel").scrollIntoView({ block: "start" });
}
$("run-close").addEventListener("click", () => { history.replaceState(null, "", location.pathname); $("run-panel").hidden = true; });
window.addEventListener("hashchange", showRun);

refresh();
if (cells.length) chooseSetup(); else drawPeriods();
showRun();
document.body.dataset.ready = "true";
