// ---- the table of runs
const FACTS = data.columns, COLUMNS = FACTS.filter((spec) => !spec.hidden); // hidden ones are of the CSV and the charts
const table = Object.fromEntries(FACTS.map((spec) => [spec.name, column(data.runs, spec.name)]));
const total = table.run_id.length;
const text = (spec, value) => (value === null ? "" : spec.digits !== undefined ? (value * (spec.scale ?? 1)).toFixed(spec.digits) : String(value));
const searchable = Array.from({ length: total }, (_, row) =>
  COLUMNS.map((spec) => text(spec, table[spec.name][row])).join(" ").toLowerCase());
const PAGE = 50;
let sorting = null, descending = false, page = 0, visible = [];
const filters = {};

for (const spec of COLUMNS) {
  const head = element("th", spec.title, { className: spec.number ? "number" : "" });
  head.dataset.name = spec.name;
  head.addEventListener("click", () => {
    descending = sorting === spec.name ? !descending : Boolean(spec.number && spec.digits !== undefined);
    sorting = spec.name;
    changed();
  });
  $("heads").append(head);
  const cell = element("th");
  if (spec.filter) {
    const select = element("select", undefined, { ariaLabel: `filter by ${spec.title}` });
    select.dataset.name = spec.name;
    const values = unique(table[spec.name]);
    select.append(element("option", "all", { value: "" }), ...values.map((value) => element("option", value, { value })));
    select.addEventListener("change", () => { filters[spec.name] = select.value; changed(); });
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
      if (spec.name === "run_id") cell.append(element("a", value, { href: hashWith({ run: value }) }));
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
$("search").addEventListener("input", changed);
$("previous").addEventListener("click", () => { page--; showPage(); });
$("next").addEventListener("click", () => { page++; showPage(); });
$("reset").addEventListener("click", () => { writeState(noFilters()); restoreTable(); });

// The address holds the filters: q, a column's name after "only.", and sort, with a minus for descending.
const noFilters = () => ({ q: null, sort: null, ...Object.fromEntries(COLUMNS.map((spec) => [`only.${spec.name}`, null])) });
function changed() {
  const chosen = Object.fromEntries(Object.entries(filters).map(([name, value]) => [`only.${name}`, value]));
  writeState({ ...noFilters(), q: $("search").value, sort: sorting && (descending ? "-" : "") + sorting, ...chosen });
  refresh();
}
function restoreTable() {
  const found = state(), sort = found.get("sort") ?? "";
  $("search").value = found.get("q") ?? "";
  for (const select of $("filters").querySelectorAll("select")) {
    select.value = found.get(`only.${select.dataset.name}`) ?? "";
    filters[select.dataset.name] = select.value; // empty for a value that no run has
  }
  descending = sort.startsWith("-");
  sorting = sort.replace(/^-/, "") in table ? sort.replace(/^-/, "") : null;
  refresh();
}

function csvText() {
  const quoted = (value) => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const lines = visible.map((row) => FACTS.map((spec) => quoted(String(table[spec.name][row] ?? ""))).join(","));
  return [FACTS.map((spec) => spec.name).join(","), ...lines, ""].join("\n");
}
$("csv").addEventListener("click", () => {
  const address = URL.createObjectURL(new Blob([csvText()], { type: "text/csv" }));
  element("a", undefined, { href: address, download: "runs.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
});
$("link").addEventListener("click", () => copyLink($("link"), "runs"));
