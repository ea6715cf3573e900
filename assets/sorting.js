// A table that is sorted by a click on a column's head. Cells carry their value in data-value; others sort as text.
element.addEventListener("click", (event) => {
  const button = event.target.closest("th button");
  if (!button) return;
  const head = button.closest("th");
  const column = [...head.parentElement.children].indexOf(head);
  const falling = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const body = element.querySelector("tbody");
  const value = (row) => {
    const cell = row.children[column];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
  };
  const rows = [...body.children].map((row) => [value(row), row]);
  rows.sort(([a], [b]) => (typeof a === "number" ? a - b : a.localeCompare(b)));
  if (falling) rows.reverse();
  body.replaceChildren(...rows.map(([, row]) => row));
});
