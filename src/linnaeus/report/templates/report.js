"use strict";
/* The page is complete without this. It makes tables sortable, shows the pictures behind a cell of the confusion matrix,
   tells the values under the pointer in charts, and computes scores at other thresholds from the counts in the page. */

const make = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const data = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "null");

for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => {
    const button = make("button", { type: "button" }, ...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const compare = column === 0
        ? (a, b) => value(a).localeCompare(value(b), undefined, { numeric: true })
        : (a, b) => Number(value(a)) - Number(value(b));
      const rows = Array.from(body.rows).sort((a, b) => (rising ? compare(a, b) : compare(b, a)));
      body.append(...rows);
    });
  });
}

/* Tables that scroll are reached by Tab, those that fit are not. */
const scrolls = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    target.tabIndex = target.scrollWidth > target.clientWidth || target.scrollHeight > target.clientHeight ? 0 : -1;
  }
});
document.querySelectorAll(".scroll[tabindex]").forEach((region) => scrolls.observe(region));

/* Cells: each becomes a button; in the matrix one of them is reached by Tab and the others by the arrow keys. */
const panel = document.getElementById("cell-pictures");
if (panel) {
  const cells = data("cells");
  document.getElementById("cell-hint").hidden = false;
  let chosen = null;
  const show = (cell) => {
    const [number, pictures] = cells[cell.dataset.cell];
    chosen?.setAttribute("aria-pressed", "false");
    chosen = cell.querySelector("button");
    chosen.setAttribute("aria-pressed", "true");
    const words = cell.dataset.words;
    const list = make("ul", { className: "gallery small" });
    for (const [style, id, probability] of pictures) {
      const picture = style.trim()
        ? make("span", { className: `picture ${style}` })
        : make("span", { className: "picture missing", textContent: "cannot be shown" });
      if (style.trim()) {
        picture.setAttribute("role", "img");
        picture.setAttribute("aria-label", id);
      }
      const name = make("span", { className: "id", title: id }, make("bdi", { textContent: id }));
      list.append(make("li", {}, make("figure", {}, picture, make("figcaption", {}, probability, name))));
    }
    const rest = pictures.length < number ? `; ${pictures.length} of them, the most confident first` : "";
    panel.replaceChildren(make("h4", { textContent: words + rest }), list);
    panel.hidden = false;
    panel.scrollIntoView({ block: "nearest" });
  };
  for (const cell of document.querySelectorAll("[data-cell]")) {
    const button = make("button", { type: "button" }, ...cell.childNodes);
    button.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-controls", panel.id);
    cell.dataset.words = cell.title;
    button.setAttribute("aria-label", cell.title);
    cell.append(button);
    button.addEventListener("click", () => show(cell));
  }
  const grid = document.querySelector("table.matrix tbody");
  const buttons = Array.from(grid?.querySelectorAll("button") ?? []);
  buttons.forEach((button, k) => { button.tabIndex = k === 0 ? 0 : -1; });
  const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
  grid?.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    let cell = event.target.closest("td");
    if (!step || !cell) return;
    event.preventDefault();
    do {
      const row = grid.rows[cell.parentElement.rowIndex - 1 + step[0]];
      cell = row?.cells[cell.cellIndex + step[1]];
    } while (cell && cell.tagName === "TD" && !cell.querySelector("button"));
    const next = cell?.querySelector("button");
    if (!next) return;
    buttons.forEach((button) => { button.tabIndex = -1; });
    next.tabIndex = 0;
    next.focus();
  });
}

/* Charts: the words of the band under the pointer, at once and beside it. */
const tip = make("div", { className: "tip", hidden: true });
tip.setAttribute("aria-hidden", "true");
document.body.append(tip);
for (const band of document.querySelectorAll(".chart .hover")) {
  const words = band.querySelector("title")?.textContent;
  if (!words) continue;
  band.querySelector("title").remove();
  band.addEventListener("pointermove", (event) => {
    tip.textContent = words;
    tip.hidden = false;
    const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    tip.style.transform = `translate(${Math.max(8, left)}px, ${Math.max(8, event.clientY - tip.offsetHeight - 12)}px)`;
  });
  band.addEventListener("pointerleave", () => { tip.hidden = true; });
}

/* Thresholds: scores of every label, and of all together, at one threshold for all or at the chosen ones. */
const slider = document.getElementById("threshold");
if (slider) {
  const counts = data("threshold-counts");
  const rows = Array.from(document.getElementById("threshold-table").tBodies[0].rows);
  const chosen = rows.map((row) => Array.from(row.cells, (cell) => cell.textContent));
  const percent = (part, whole) => (whole ? (100 * part) / whole : 0);
  const words = (value) => (value === 100 || value === 0 ? String(value) : value.toFixed(1));
  const compute = (step) => {
    let allTruePositives = 0, allFalsePositives = 0, allSupport = 0, f1s = 0;
    counts.forEach(([own, support, truePositives, falsePositives], k) => {
      const [tp, fp] = step === null ? own : [truePositives[step], falsePositives[step]];
      const f1 = percent(2 * tp, tp + fp + support);
      allTruePositives += tp; allFalsePositives += fp; allSupport += support; f1s += f1;
      const cells = rows[k].cells;
      const shown = step === null
        ? chosen[k].slice(1, 5)
        : [(step / slider.max).toFixed(2), words(percent(tp, tp + fp)), words(percent(tp, support)), words(f1)];
      shown.forEach((text, j) => { cells[j + 1].textContent = text; });
    });
    document.getElementById("threshold-value").textContent = step === null ? "as chosen" : (step / slider.max).toFixed(2);
    document.getElementById("threshold-summary").textContent =
      `All labels together: precision ${words(percent(allTruePositives, allTruePositives + allFalsePositives))} %, ` +
      `recall ${words(percent(allTruePositives, allSupport))} %, F1 ${words(percent(2 * allTruePositives, allTruePositives + allFalsePositives + allSupport))} %; ` +
      `macro F1 ${words(f1s / counts.length)} %.`;
  };
  slider.addEventListener("input", () => compute(Number(slider.value)));
  document.getElementById("threshold-reset").addEventListener("click", () => compute(null));
  document.getElementById("slider").hidden = false;
  compute(null);
}
