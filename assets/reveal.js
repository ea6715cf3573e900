// What just got something to show comes into view: it may stand below what was picked.
watch("value", () => {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (props.value) element.scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
});
