// ---- two groups of runs, compared by pairs that share the seed and every setting that both have
const SAME = "", ROWS = { "setup,density": "setup and density", setup: "setup", "*": "every setting", "": "all pairs" };

const byOrder = (a, b) => order.indexOf(a) - order.indexOf(b);
const groupKey = (group, spec) => `${group}.${spec.name}`;
for (const group of ["a", "b"]) {
  for (const spec of varied) {
    const label = element("label", `${spec.title} `), select = element("select", undefined, { id: groupKey(group, spec) });
    const values = spec.name === "line" ? unique(results.map((run) => run.line)).sort(byOrder) : unique(results.map((run) => run[spec.name]));
    select.append(element("option", group === "a" ? "each" : "as in A", { value: SAME }),
      ...values.map((value) => element("option", spec.name === "line" ? lineLabel(value) : value, { value })));
    select.addEventListener("change", comparisonChanged);
    label.append(select);
    $(`group-${group}`).append(label);
  }
}
options($("compare-metric"), Object.keys(data.metrics), (name) => data.metrics[name]);
options($("compare-rows"), Object.keys(ROWS), (name) => ROWS[name]);
for (const id of ["compare-metric", "compare-rows"]) $(id).addEventListener("change", comparisonChanged);
$("compare-link").addEventListener("click", () => copyLink($("compare-link"), "compare"));

const chosen = (group, spec) => $(groupKey(group, spec)).value;
const members = (group, specs) => results.filter((run) => specs.every((spec) => chosen(group, spec) === SAME || String(run[spec.name]) === chosen(group, spec)));
// A dense run has no density to share, a static one no growth: such a setting is paired with every value.
const setting = (run, spec) => (spec.name === "density" && run.line === "dense" ? null : run[spec.name]);

// Returns {one, other, difference} of each seed and each two settings, one of A and one of B, that agree where B is as A.
function pairs(metric) {
  const shared = varied.filter((spec) => chosen("b", spec) === SAME);
  const agree = (one, other) => shared.every((spec) => {
    const left = setting(one, spec), right = setting(other, spec);
    return left === null || right === null || left === right;
  });
  const seeds = (group) => [...grouped(members(group, varied).filter((run) => run[metric] != null), (run) => keyOf(run, varied)).values()]
    .map((runs) => ({ run: runs[0], bySeed: grouped(runs, (run) => run.seed) }));
  const ones = seeds("a"), others = seeds("b"), found = [];
  for (const one of ones) {
    for (const other of others) {
      if (!agree(one.run, other.run) || keyOf(one.run, varied) === keyOf(other.run, varied)) continue;
      for (const [seed, runs] of one.bySeed) {
        if (!other.bySeed.has(seed)) continue;
        const [left, right] = [runs, other.bySeed.get(seed)].map((same) => mean(same.map((run) => run[metric])));
        found.push({ one: one.run, other: other.run, difference: Number((100 * (left - right)).toFixed(7)) }); // equal is equal whatever the rounding
      }
    }
  }
  return found;
}
function rowLabel(pair, names) {
  if (names === "*") return `${settingOf(pair.one, varied)} − ${settingOf(pair.other, varied)}`;
  const open = varied.filter((spec) => chosen("a", spec) === SAME && chosen("b", spec) !== SAME); // values that A has each of
  const specs = varied.filter((spec) => names.split(",").includes(spec.name) || open.includes(spec));
  const value = (spec) => setting(pair.one, spec) ?? setting(pair.other, spec);
  return specs.filter((spec) => value(spec) !== null).map((spec) => said(spec, value(spec))).join(", ") || "all pairs";
}
const probability = (value) => (value === null ? "" : value < 0.001 ? value.toExponential(1) : value.toFixed(3));
const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);

function compare() {
  const found = varied.some((spec) => chosen("b", spec) !== SAME) ? pairs($("compare-metric").value) : [];
  const rows = [...grouped(found, (pair) => rowLabel(pair, $("compare-rows").value))].map(([label, group]) => {
    const differences = group.map((pair) => pair.difference);
    return { label, differences, mean: mean(differences), interval: bootstrapInterval(differences), ...wilcoxon(differences) };
  });
  holm(rows.map((row) => row.p)).forEach((p, index) => { rows[index].holm = p; });
  const [a, b] = ["a", "b"].map((group) => varied.filter((spec) => chosen(group, spec) !== SAME).map((spec) => said(spec, chosen(group, spec))).join(", "));
  $("compare-caption").textContent = `A: ${a || "each"} · B: ${b} · ${data.metrics[$("compare-metric").value]}`;
  $("compare-table").hidden = !rows.length;
  $("compare-none").hidden = rows.length > 0;
  $("compare-none").textContent = varied.length ? "Choose for B a value that A does not have; no two runs of such groups share a seed yet." : "All runs have the same settings.";
  $("compare-body").replaceChildren(...rows.map((row) => {
    const cells = [row.label, row.differences.length, signed(row.mean), row.interval ? row.interval.map(signed).join(" to ") : "", probability(row.p), probability(row.holm), row.method];
    const made = tableRow(cells);
    made.className = row.holm !== null && row.holm < 0.05 ? "significant" : "";
    Object.assign(made.dataset, { differences: JSON.stringify(row.differences), numbers: JSON.stringify([row.mean, row.interval, row.p, row.holm]) });
    return made;
  }));
  showCriticalDistances();
}
function showCriticalDistances() {
  const line = varied.find((spec) => spec.name === "line"), sides = line ? ["a", "b"].map((group) => chosen(group, line)) : [];
  $("compare-ranks").replaceChildren(...data.rankings.map((ranking) => {
    const [one, other] = sides.map((name) => ranking.average[name]), gap = Math.abs(one - other);
    const ranks = Number.isNaN(gap) || sides[0] === sides[1] ? "" : ` Average ranks: A ${one.toFixed(2)}, B ${other.toFixed(2)}, ` +
      (ranking.tested ? `${gap.toFixed(2)} apart, ${ranking.significant && gap > ranking.cd ? "" : "not "}significantly.` : "not tested, as there are too few blocks.");
    return element("p", `${ranking.title}: Nemenyi's critical distance of average ranks is ${ranking.cd.toFixed(2)} (${ranking.blocks} blocks).${ranks}`);
  }));
}
// In the address: a.<axis>, b.<axis>, by (a metric), each (what a row is).
function comparisonChanged() {
  const both = ["a", "b"].flatMap((group) => varied.map((spec) => [groupKey(group, spec), chosen(group, spec)]));
  writeState({ ...Object.fromEntries(both), by: $("compare-metric").value, each: $("compare-rows").value || "all" });
  compare();
}
function restoreComparison() {
  const found = state(), choose = (select, value, instead) => {
    select.value = value ?? instead;
    if (select.selectedIndex < 0) select.value = instead; // a value that no run has
  };
  for (const group of ["a", "b"]) for (const spec of varied) choose($(groupKey(group, spec)), found.get(groupKey(group, spec)), SAME);
  choose($("compare-metric"), found.get("by"), Object.keys(data.metrics)[0]);
  choose($("compare-rows"), found.get("each") === "all" ? "" : found.get("each"), "setup,density");
  compare();
}
