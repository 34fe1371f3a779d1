"use strict";
/* The page is complete without this: it only makes the tables marked data-sortable sortable by their headings. */
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
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
