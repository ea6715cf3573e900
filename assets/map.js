// Beside figure.js: a point of the map shows its photo while the mouse is over it, and is picked by a click.
// props.value.about names run, split and model; the server gives {picture, text} for a photo's number.
const tip = document.createElement("div");
tip.className = "tl-map-tip";
tip.hidden = true;
const photos = new Map();
let over = null;

function place(point) {
  const box = plot.getBoundingClientRect();
  const x = point.xaxis.l2p(point.xaxis.d2l(point.x)) + point.xaxis._offset;
  const y = point.yaxis.l2p(point.yaxis.d2l(point.y)) + point.yaxis._offset;
  const left = x + 180 > box.width ? Math.max(0, x - 176) : x + 12;
  tip.style.left = `${left}px`;
  tip.style.top = `${Math.max(0, Math.min(y - 40, box.height - 210))}px`;
}

function fill(found) {
  const text = document.createElement("span");
  text.textContent = found.text;
  tip.replaceChildren(text);
  if (!found.picture) return;
  const picture = document.createElement("img");
  picture.src = found.picture;
  picture.alt = "";
  tip.prepend(picture);
}

async function hover(event) {
  const point = event.points[0];
  const about = props.value.about;
  const key = JSON.stringify([about, point.customdata]);
  over = key;
  await new Promise((done) => setTimeout(done, 60)); // a mouse on its way across asks nothing
  if (over !== key) return;
  if (!photos.has(key)) {
    if (photos.size > 500) photos.clear();
    const body = JSON.stringify({ about, number: point.customdata });
    const answer = await fetch("tl-app/map-photo", { method: "POST", body });
    photos.set(key, answer.ok ? await answer.json() : null);
  }
  if (over !== key || !photos.get(key)) return;
  fill(photos.get(key));
  tip.hidden = false;
  place(point);
}

plot.addEventListener("drawn", () => {
  if (tip.parentElement !== plot.parentElement) plot.parentElement.append(tip);
  if (plot.dataset.bound) return;
  plot.dataset.bound = "true";
  plot.on("plotly_hover", hover);
  plot.on("plotly_unhover", () => {
    over = null;
    tip.hidden = true;
  });
  plot.on("plotly_click", (event) => {
    const about = props.value && props.value.about; // else a photo's number could be taken for one of another run
    trigger("select", { pick: `photo:${event.points[0].customdata}`, about });
  });
});
