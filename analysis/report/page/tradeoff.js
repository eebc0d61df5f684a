// ---- accuracy against training cost: a line for each setting, its points differ in one choice and are means over seeds
const AXES = data.columns.filter((spec) => spec.axis);
const DONE = new Set(["finished", "diverged"]);
const results = rowsOf(data.runs).filter((run) => DONE.has(run.status));
const varied = AXES.filter((spec) => unique(results.map((run) => run[spec.name])).length > 1);
const COSTS = { cost_flops: { title: "FLOPs of training and parents", scale: 1 }, cost_s: { title: "minutes of training and parents", scale: 1 / 60 } };

// A line that several values of a parameter split has their first one's style.
const styleOf = (line) => data.lines[line] ?? data.lines[order.find((name) => name.startsWith(`${line}, `))] ?? { label: line, color: "#808080", symbol: "circle" };
const said = (spec, value) => (spec.name === "line" ? lineLabel(value) : spec.name === "setup" ? value : `${spec.title} ${value}`);
const settingOf = (run, specs) => specs.filter((spec) => run[spec.name] !== null).map((spec) => said(spec, run[spec.name])).join(", ") || "all runs";
const keyOf = (run, specs) => JSON.stringify(specs.map((spec) => run[spec.name]));

options($("trade-along"), varied.filter((spec) => !["setup", "line"].includes(spec.name)).map((spec) => spec.name),
  (name) => varied.find((spec) => spec.name === name).title);
if (varied.some((spec) => spec.name === "density")) $("trade-along").value = "density";
options($("trade-cost"), Object.keys(COSTS), (name) => COSTS[name].title);
$("trade-along-choice").hidden = !$("trade-along").options.length;

function tradeOffChart(setup, metric, cost, along) {
  const here = results.filter((run) => run.setup === setup && (!data.lines[run.line] || shown().has(run.line)) && run[cost] !== null && run[metric] != null);
  const fixed = varied.filter((spec) => !["setup", along].includes(spec.name));
  const lines = [...grouped(here, (run) => keyOf(run, fixed)).values()];
  lines.sort((a, b) => order.indexOf(a[0].line) - order.indexOf(b[0].line));
  const spec = varied.find((each) => each.name === along);
  const dashes = ["solid", "dash", "dot", "dashdot", "longdash"], used = {};
  const traces = lines.map((runs) => {
    const style = styleOf(runs[0].line), color = readable(style.color);
    const dash = dashes[(used[runs[0].line] = (used[runs[0].line] ?? -1) + 1) % dashes.length];
    const points = [...grouped(runs, (run) => run[along]).values()].map((group) => {
      const values = group.map((run) => 100 * run[metric]);
      return { x: COSTS[cost].scale * mean(group.map((run) => run[cost])), y: mean(values), std: deviation(values) ?? 0,
        about: `${spec && group[0][along] !== null ? said(spec, group[0][along]) : ""} (${values.length} runs)` };
    }).sort((a, b) => a.x - b.x);
    const name = settingOf(runs[0], fixed);
    return { type: "scatter", mode: "lines+markers", name, x: points.map((point) => point.x), y: points.map((point) => point.y),
      customdata: points.map((point) => [point.std, point.about]), error_y: { type: "data", array: points.map((point) => point.std), thickness: 1, width: 3 },
      line: { color, dash, width: 2 }, marker: { color, size: 6, symbol: style.symbol },
      hovertemplate: `<b>${name}</b> %{customdata[1]}<br>%{y:.2f} ± %{customdata[0]:.2f} for %{x:.3g}<extra></extra>` };
  });
  const costs = traces.flatMap((trace) => trace.x), digits = Math.max(...costs) < 10 * Math.min(...costs) ? "D1" : "D2"; // D2: 1, 2 and 5
  return { traces, layout: { showlegend: traces.length <= 16, legend: { orientation: "h", y: 1.02, yanchor: "bottom" }, xaxis: { type: "log", dtick: digits, tickformat: ".2~g", title: { text: COSTS[cost].title } },
    yaxis: { title: { text: `${data.metrics[metric]} (%)` } } } };
}
function drawTradeOff() {
  draw("trade-chart", () => tradeOffChart($("setup").value, $("metric").value, $("trade-cost").value, $("trade-along").value));
}
for (const id of ["trade-cost", "trade-along"]) $(id).addEventListener("change", drawTradeOff);
