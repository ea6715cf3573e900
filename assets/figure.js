// A Plotly figure that is redrawn in place: Plotly.react keeps the SVG and, through uirevision, the zoom.
// Runs once per component; gradio gives `element`, `props` and `watch`. props.value is {data, layout} or null.
const plot = element.querySelector(".tl-plot");
const hint = element.querySelector(".tl-plot-hint");
const touch = matchMedia("(pointer: coarse)").matches;
const config = {
  displaylogo: false,
  displayModeBar: touch ? false : "hover",
  responsive: false, // a ResizeObserver does it, also when a hidden tab is shown
  modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
};
let stale = false;

function themed(layout) {
  const style = getComputedStyle(element);
  const text = style.getPropertyValue("--body-text-color-subdued").trim();
  const ground = style.getPropertyValue("--block-background-fill").trim();
  const border = style.getPropertyValue("--border-color-primary").trim();
  return {
    ...layout,
    font: { ...layout.font, color: text },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: text, activecolor: style.color },
    hoverlabel: { bgcolor: ground, bordercolor: border, font: { color: style.color } },
    dragmode: touch ? false : "zoom", // on a phone a finger on the plot must still scroll the page
  };
}

function draw() {
  const figure = props.value;
  const empty = !figure || !figure.data;
  plot.hidden = empty;
  if (hint) hint.hidden = !empty;
  if (empty) return;
  if (!plot.clientWidth) {
    stale = true; // in a hidden tab there is no width to draw for
    return;
  }
  stale = false;
  plot.style.height = `${figure.layout.height}px`; // Plotly.Plots.resize asks the element, not the layout
  Plotly.react(plot, figure.data, themed(figure.layout), config).then(() => plot.dispatchEvent(new Event("drawn")));
}

new ResizeObserver(() => {
  if (!plot.clientWidth || plot.hidden) return;
  if (stale || !plot._fullLayout) draw();
  else if (Math.abs(plot._fullLayout.width - plot.clientWidth) > 1) Plotly.Plots.resize(plot);
}).observe(element);
new MutationObserver(() => draw()).observe(document.body, { attributes: true, attributeFilter: ["class"] });

watch("value", draw);
draw();
