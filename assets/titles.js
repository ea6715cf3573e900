// Buttons have no place for an explanation in gradio: props.titles maps element ids to theirs.
function title() {
  for (const [id, text] of Object.entries(props.titles)) {
    const found = document.getElementById(id);
    if (!found) continue;
    for (const target of [found, ...found.querySelectorAll("button, a")]) {
      if (target.title !== text) target.title = text;
    }
  }
}
// Tabs put their buttons into the page when they are first shown.
new MutationObserver(title).observe(document.querySelector("gradio-app, .gradio-container") || document.body, {
  childList: true,
  subtree: true,
});
title();
