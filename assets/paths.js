// Completes folders in a path box as one types. Gives the box the behaviour of a combobox (WAI-ARIA): arrows
// move, Enter or Tab takes, Escape closes. props.target is the element id of the text box.
const list = element.querySelector(".tl-suggestions");
let box = null;
let chosen = -1;
let asked = 0;

function attach() {
  const found = document.querySelector(`#${props.target} input, #${props.target} textarea`);
  if (!found || found === box) return;
  box = found;
  list.id = `${props.target}-suggestions`;
  Object.entries({
    role: "combobox",
    "aria-autocomplete": "list",
    "aria-expanded": "false",
    "aria-controls": list.id,
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
  }).forEach(([name, value]) => box.setAttribute(name, value));
  box.addEventListener("input", ask);
  box.addEventListener("focus", ask);
  box.addEventListener("keydown", onKey, true);
  box.addEventListener("blur", () => setTimeout(close, 150));
}

async function ask() {
  const turn = ++asked;
  const body = JSON.stringify(box.value);
  const answer = await fetch("tl-app/folders", { method: "POST", body });
  const found = answer.ok ? await answer.json() : [];
  if (turn !== asked || document.activeElement !== box) return;
  show((found || []).filter((path) => path !== box.value));
}

function show(paths) {
  chosen = -1;
  list.replaceChildren(...paths.map(option));
  list.hidden = paths.length === 0;
  box.setAttribute("aria-expanded", String(!list.hidden));
}

function option(path) {
  const item = document.createElement("li");
  item.setAttribute("role", "option");
  item.textContent = path;
  item.addEventListener("mousedown", (event) => {
    event.preventDefault();
    take(path);
  });
  return item;
}

function onKey(event) {
  if (list.hidden) return;
  const items = [...list.children];
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    chosen = (chosen + (event.key === "ArrowDown" ? 1 : -1) + items.length) % items.length;
    items.forEach((item, i) => item.setAttribute("aria-selected", String(i === chosen)));
    items[chosen].scrollIntoView({ block: "nearest" });
  } else if (event.key === "Enter" && chosen >= 0) {
    take(items[chosen].textContent);
  } else if (event.key === "Tab" && !event.shiftKey && items.length) {
    take(items[Math.max(0, chosen)].textContent);
  } else {
    if (event.key === "Escape" || event.key === "Enter") close();
    return;
  }
  event.preventDefault();
  event.stopPropagation();
}

function take(path) {
  box.value = path;
  box.dispatchEvent(new Event("input", { bubbles: true })); // asks for what is inside
}

function close() {
  asked++;
  list.hidden = true;
  box.setAttribute("aria-expanded", "false");
}

attach();
new MutationObserver(attach).observe(document.getElementById(props.target) || document.body, {
  childList: true,
  subtree: true,
});
