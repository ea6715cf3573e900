// Things that can be picked by click or key: cells of a matrix, photos of a grid, pages. Each is a button with what it
// stands for in data-pick. Triggers "select" with that. Within one [data-keys] the arrow keys move, and Tab leaves it.
let last = null;

function places(box) {
  return [...box.querySelectorAll("[data-pick]:not(:disabled)")];
}

// Only one place of each box can be reached with Tab: the one that was used last.
function settle() {
  for (const box of element.querySelectorAll("[data-keys]")) {
    const all = places(box);
    const stop = all.find((place) => place.dataset.pick === last) || box.querySelector('[aria-pressed="true"]') || all[0];
    for (const place of all) place.tabIndex = place === stop ? 0 : -1;
  }
}

function middle(place) {
  const box = place.getBoundingClientRect();
  return [box.left + box.width / 2, box.top + box.height / 2];
}

// The nearest place in a direction; steps aside count more than steps ahead.
function next(from, all, dx, dy) {
  const [x, y] = middle(from);
  let best = null;
  let least = Infinity;
  for (const place of all) {
    const [px, py] = middle(place);
    const ahead = (px - x) * dx + (py - y) * dy;
    const aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
    if (ahead > 2 && ahead + 4 * aside < least) [best, least] = [place, ahead + 4 * aside];
  }
  return best;
}

element.addEventListener("click", (event) => {
  const place = event.target.closest("[data-pick]");
  if (!place) return;
  last = place.dataset.pick;
  for (const other of element.querySelectorAll("[aria-pressed]")) {
    other.setAttribute("aria-pressed", String(other === place));
  }
  settle();
  trigger("select", { pick: last });
});

element.addEventListener("keydown", (event) => {
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const box = event.target.closest("[data-keys]");
  if (!box || !arrows[event.key]) return;
  event.preventDefault();
  const found = next(event.target, places(box), ...arrows[event.key]);
  if (!found) return;
  last = found.dataset.pick;
  settle();
  found.focus();
});

let focused = false;
element.addEventListener("focusin", () => (focused = true));
element.addEventListener("focusout", (event) => (focused = Boolean(event.relatedTarget) && element.contains(event.relatedTarget)));
watch("value", () => {
  settle();
  if (!focused || !last) return; // who works with keys goes on where they were
  const again = [...element.querySelectorAll("[data-pick]")].find((place) => place.dataset.pick === last);
  if (again && document.activeElement === document.body) again.focus();
});
settle();
