// Buttons inside markup: each carries the name of what it does in data-name. Triggers "select" with the name.
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-name]");
  if (button) trigger("select", { name: button.dataset.name });
});
