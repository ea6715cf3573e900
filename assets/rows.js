// Rows of a table that can be chosen by click or key. Each row carries its name in data-name.
// Triggers "select" with the name.
function rowOf(event) {
  return event.target.closest("tr[data-name]");
}

function choose(row) {
  for (const other of element.querySelectorAll("tr[data-name]")) {
    other.setAttribute("aria-selected", String(other === row));
  }
  trigger("select", { name: row.dataset.name });
}

element.addEventListener("click", (event) => {
  const row = rowOf(event);
  if (row) choose(row);
});
element.addEventListener("keydown", (event) => {
  const row = rowOf(event);
  if (!row || (event.key !== "Enter" && event.key !== " ")) return;
  event.preventDefault();
  choose(row);
});
