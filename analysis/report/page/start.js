// ---- shows what the address says, now and when it changes
function restore() {
  restoreTable();
  restoreComparison();
  showRun();
}
window.addEventListener("hashchange", restore);
if (cells.length) chooseSetup(); else drawPeriods();
restore();
$(state().get("at") ?? "")?.scrollIntoView();
document.body.dataset.ready = "true";
