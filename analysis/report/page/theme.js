// ---- the look of the charts: the colours of page.css, drawn anew when those change
const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
const drawings = new Map();

const themed = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const printing = () => "printing" in document.documentElement.dataset;
const brightness = (color) => [1, 3, 5].reduce((sum, at, index) => sum + parseInt(color.slice(at, at + 2), 16) * [0.3, 0.59, 0.11][index], 0);
// A colour of a line on the card: dark ones are lightened on a dark card.
function readable(color) {
  if (printing() || !matchMedia("(prefers-color-scheme: dark)").matches || brightness(color) > 80) return color;
  return "#" + [1, 3, 5].map((at) => Math.round(0.4 * parseInt(color.slice(at, at + 2), 16) + 0.6 * 255).toString(16).padStart(2, "0")).join("");
}

// Draws a chart: `make` returns its traces and its layout, and is called again when the colours change.
function draw(id, make) {
  drawings.set(id, make);
  const { traces, layout } = make();
  const paper = printing() ? { width: $(id).clientWidth } : {}; // Plotly resizes later than a page is printed
  const grid = { gridcolor: themed("grid"), zeroline: false, linecolor: themed("line"), automargin: true };
  return Plotly.react(id, traces, { margin: { l: 60, r: 15, t: 34, b: 48 }, font: { family: "system-ui, sans-serif", size: 13, color: themed("ink") },
    hovermode: "closest", showlegend: false, paper_bgcolor: themed("card"), plot_bgcolor: themed("card"),
    ...layout, ...paper, xaxis: { ...grid, ...layout.xaxis }, yaxis: { ...grid, ...layout.yaxis } }, CONFIG);
}
function drawAgain() {
  for (const [id, make] of drawings) {
    if ($(id).hidden || !$(id).offsetParent) continue; // drawn when it is shown
    draw(id, make);
    if (!printing()) Plotly.Plots.resize(id);
  }
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAgain);
function setPrinting(begins) {
  if (begins) document.documentElement.dataset.printing = "true";
  else delete document.documentElement.dataset.printing;
  drawAgain();
}
window.addEventListener("beforeprint", () => setPrinting(true));
window.addEventListener("afterprint", () => setPrinting(false));
