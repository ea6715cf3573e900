// Clicks the hidden link to the file that was just made, once it has its address.
() => {
  const started = Date.now();
  (function click() {
    const place = document.getElementById("tl-preset-file");
    const link = place?.matches("a, button") ? place : place?.querySelector("a, button");
    if (link) link.click();
    else if (Date.now() - started < 5000) setTimeout(click, 50);
  })();
}
