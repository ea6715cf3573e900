// After explained.js: cards that answer "why?". A card is an element with data-photo inside #props.target; it holds a
// figure, and buttons with data-label. A click triggers "select" with {photo, label, turn}; props.value, {turn, label,
// picture, legend}, then takes the place of the photo until the same button is clicked again.
let turn = 0;

function onClick(event) {
  const button = event.target.closest(`#${props.target} [data-photo] [data-label]`);
  if (!button) return;
  const card = button.closest("[data-photo]");
  const shown = card.dataset.explained;
  card.dataset.turn = ++turn; // an answer to an earlier click comes too late
  if (shown && (button.classList.contains("tl-why-ask") || shown === button.dataset.label)) return put(card, "");
  card.setAttribute("aria-busy", "true");
  trigger("select", { photo: card.dataset.photo, label: button.dataset.label, turn });
}

document.addEventListener("click", onClick);
watch("value", () => {
  const answer = props.value;
  if (!answer) return;
  const cards = [...document.querySelectorAll(`#${props.target} [data-photo]`)];
  if (answer.failed) return cards.forEach((card) => card.removeAttribute("aria-busy"));
  const card = cards.find((one) => one.dataset.turn === String(answer.turn));
  if (card) put(card, answer.label, answer.picture, answer.legend);
});
