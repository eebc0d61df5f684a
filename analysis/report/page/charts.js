// ---- charts with a choice of setup, growth, metric, criteria
const cells = rowsOf(data.cells), periods = rowsOf(data.periods);
const order = Object.keys(data.lines);

options($("setup"), unique(cells.map((cell) => cell.setup)));
options($("metric"), Object.keys(data.metrics), (name) => data.metrics[name]);
for (const line of order) {
  const label = element("label", undefined, { className: "line" }), box = element("input", undefined, { type: "checkbox", checked: true, value: line });
    const swatch = element("i");
  swatch.style.background = data.lines[line].color;
  label.append(box, swatch, data.lines[line].label);
  $("lines").append(label);
}
const shown = () => new Set([...$("lines").querySelectorAll("input:checked")].map((box) => box.value));

function trace(line, points, x, y, scale) {
  const style = data.lines[line], sorted = points.filter((point) => point[y] !== null).sort((a, b) => a[x] - b[x]);
  return { type: "scatter", mode: "lines+markers", name: style.label, x: sorted.map((point) => point[x]),
    y: sorted.map((point) => scale * point[y]), customdata: sorted.map((point) => [scale * (point[y + "_std"] ?? 0), point[y + "_n"]]),
    error_y: { type: "data", array: sorted.map((point) => scale * (point[y + "_std"] ?? 0)), thickness: 1, width: 3 },
    line: { color: readable(style.color), dash: line === "static" ? "dot" : "solid", width: 2 }, marker: { color: readable(style.color), size: 6, symbol: style.symbol },
    hovertemplate: `<b>${style.label}</b> at %{x}<br>%{y:.2f} ± %{customdata[0]:.2f} (%{customdata[1]} runs)<extra></extra>` };
}
function meansChart(points, x, y, titles, scale, level) {
  const traces = order.filter((line) => shown().has(line) && line !== "dense" && line !== level?.line)
    .map((line) => trace(line, points.filter((point) => point.line === line), x, y, scale)).filter((made) => made.x.length);
  const ticks = unique(points.filter((point) => point.line !== "dense").map((point) => point[x]));
  const shapes = [], annotations = [];
  if (level && level.value !== undefined && level.value !== null && shown().has(level.line)) {
    const style = data.lines[level.line];
    shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: scale * level.value, y1: scale * level.value,
      line: { color: readable(style.color), width: 2, dash: level.line === "dense" ? "dash" : "dot" } });
    annotations.push({ xref: "paper", x: 0, xanchor: "left", y: scale * level.value, yanchor: "bottom", showarrow: false,
      text: `${style.label} ${(scale * level.value).toFixed(2)}`, font: { color: readable(style.color), size: 12 } });
    traces.push({ type: "scatter", mode: "lines", x: [ticks[0] ?? 0.1, ticks.at(-1) ?? 1], y: [scale * level.value, scale * level.value],
      hoverinfo: "skip", opacity: 0 });
  }
  return { traces, layout: { title: { text: titles.title, font: { size: 14 } }, shapes, annotations,
    xaxis: { type: "log", title: { text: titles.x }, tickvals: ticks, ticktext: ticks.map(String) }, yaxis: { title: { text: titles.y } } } };
}
function drawAccuracy() {
  const setup = $("setup").value, growth = $("growth").value, metric = $("metric").value;
  const here = cells.filter((cell) => cell.setup === setup && (cell.growth === null || cell.growth === growth));
  const dense = here.find((cell) => cell.line === "dense");
  draw("accuracy-chart", () => meansChart(here, "density", metric,
    { title: `${setup}${growth ? `, ${growth} growth` : ""}`, x: "density (log scale)", y: `${data.metrics[metric]} (%)` }, 100,
    { line: "dense", value: dense?.[metric] }));
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
  draw("period-chart", () => meansChart(dynamic, "update_period", "val_acc", { title, x, y: "validation accuracy (%)" }, 100, { line: "static", value: statics?.val_acc }));
  draw("itop-chart", () => meansChart(dynamic, "update_period", "itop_ratio", { title, x, y: "ITOP ratio" }, 1));
}
function chooseSetup() {
  const setup = $("setup").value, before = $("growth").value;
  const growths = unique(cells.filter((cell) => cell.setup === setup).map((cell) => cell.growth));
  options($("growth"), byGrowth(growths));
  if (growths.includes(before)) $("growth").value = before;
  options($("period-density"), unique(periods.filter((cell) => cell.setup === setup && cell.line !== "static").map((cell) => cell.density)));
  drawCharts();
}
function drawCharts() { drawAccuracy(); drawPeriods(); drawTradeOff(); }
$("setup").addEventListener("change", chooseSetup);
for (const id of ["growth", "metric", "lines"]) $(id).addEventListener("change", drawCharts);
$("period-density").addEventListener("change", drawPeriods);
