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
function runChart(found, names, titles, scale) {
  const colors = ["soft", "ink"].map(themed); // no criterion's
  const traces = names.map((name, index) => ({ type: "scatter", mode: "lines+markers", name: name.startsWith("val") ? "validation" : "training",
    x: found.epoch.map(Math.round), y: found[name].map((value) => (value === null ? null : scale * value)), marker: { size: 4 }, line: { color: colors[index] } }));
  return { traces, layout: { showlegend: true, legend: { orientation: "h", y: 1.14 }, xaxis: { title: { text: "epoch" } }, yaxis: { title: { text: titles } } } };
}
async function showRun() {
  const wanted = state().get("run"), row = table.run_id.indexOf(wanted);
  $("run-panel").hidden = row < 0;
  if (row < 0) return;
  $("run-title").textContent = wanted;
  $("run-facts").textContent = COLUMNS.slice(1).map((spec) => [spec, text(spec, table[spec.name][row])])
    .filter(([, value]) => value !== "").map(([spec, value]) => `${spec.title}: ${value}`).join(" · ");
  const found = await curvesOf(row);
  draw("run-acc", () => runChart(found, ["train_acc", "val_acc"], found.epoch.length ? "accuracy (%)" : "no learning curve", 100));
  draw("run-loss", () => runChart(found, ["train_loss", "val_loss"], found.epoch.length ? "loss" : "no learning curve", 1));
  $("run-panel").scrollIntoView({ block: "start" });
}
$("run-close").addEventListener("click", () => { writeState({ run: null }); $("run-panel").hidden = true; });
