// The network as a strip of stages under the freezing-depth slider. props.value is
// {stages: [{name, parameters}], head: {...}, depth, summaries: one sentence per depth}; a depth of null stays as it is.
// It follows the slider while one slides, without asking the server; a click on a stage moves the slider.
const row = element.querySelector(".tl-stages");
const text = element.querySelector(".tl-strip-text");
let depth = props.start;
const slider = () => document.querySelector(`#${props.slider} input[type="range"]`);

function build() {
  const value = props.value;
  if (!value || !value.stages) return;
  const parts = [...value.stages, value.head];
  row.replaceChildren(...parts.map((part, i) => stage(part, i, i === value.stages.length)));
  depth = value.depth ?? depth;
  paint();
}

function stage(part, index, isHead) {
  const box = document.createElement("button");
  box.type = "button";
  box.className = isHead ? "tl-stage tl-head" : "tl-stage";
  box.dataset.index = index;
  box.style.flexGrow = part.weight;
  const name = document.createElement("b");
  name.textContent = part.name;
  const size = document.createElement("small");
  size.textContent = part.parameters;
  box.append(name, size);
  box.disabled = isHead;
  box.addEventListener("click", () => slideTo(index < depth ? index : index + 1));
  return box;
}

function paint() {
  for (const box of row.children) {
    const frozen = Number(box.dataset.index) < depth;
    const isHead = box.classList.contains("tl-head");
    box.classList.toggle("tl-frozen", frozen);
    const state = isHead ? "always trained" : frozen ? "frozen; click to train it" : "trained; click to freeze up to here";
    box.title = `${box.firstChild.textContent}: ${state}`;
    box.setAttribute("aria-label", box.title);
  }
  text.textContent = props.value.summaries[depth] || "";
}

function slideTo(position) {
  const range = slider();
  if (!range || range.disabled) return;
  range.value = position;
  range.dispatchEvent(new Event("input", { bubbles: true }));
}

function follow(event) {
  if (!props.value || !event.target.closest(`#${props.slider}`)) return;
  const position = Math.max(0, Math.min(props.value.stages.length, Math.round(Number(event.target.value) || 0)));
  if (position === depth) return;
  depth = position;
  props.value = { ...props.value, depth };
  paint();
}

document.addEventListener("input", follow);
watch("value", build);
build();
