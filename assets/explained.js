// Puts the map of what spoke for a class into a card, in the place of its photo; an empty label takes it away.
function put(card, label, picture, legend) {
  const figure = card.querySelector("figure");
  figure.querySelectorAll(".tl-why-picture, figcaption").forEach((old) => old.remove());
  figure.classList.toggle("tl-explained", Boolean(label));
  card.removeAttribute("aria-busy");
  card.dataset.explained = label;
  for (const button of card.querySelectorAll("[data-label]")) {
    const on = button.dataset.label === label;
    button.setAttribute("aria-pressed", String(on));
    if (button.classList.contains("tl-why-ask")) button.textContent = label ? "Photo" : "Why?";
  }
  if (!label) return;
  const image = document.createElement("img");
  image.className = "tl-why-picture";
  image.src = picture;
  image.alt = legend;
  const caption = document.createElement("figcaption");
  caption.setAttribute("aria-live", "polite");
  caption.textContent = legend;
  figure.append(image, caption);
}
