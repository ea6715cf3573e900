// After explained.js and drop.js: the demo. Each photo goes to the server by itself, under a name that nobody can guess,
// and is forgotten there once it has been answered; this page keeps it, to show it, and to send it again for "Why?".
// Triggers "select" with {turn, photo or example, label}; props.value is the answer, {turn, …} or {failed}.
const LIMIT = props.megabytes * 1e6;
const KEPT = 12;
const PATIENCE = 60000; // milliseconds, behind a queue
const cards = element.querySelector(".tl-cards");
const rows = element.querySelector(".tl-rows");
const waiting = new Map();
const asked = new WeakMap(); // what a card or a row is about: {file} or {example}
let turns = 0;

function ask(question) {
  const turn = ++turns;
  return new Promise((answer) => {
    const tired = setTimeout(() => answer({ error: "No answer came. Try again in a moment." }), PATIENCE);
    waiting.set(turn, (said) => {
      clearTimeout(tired);
      waiting.delete(turn);
      answer(said);
    });
    trigger("select", { ...question, turn });
  });
}

watch("value", () => {
  const said = props.value;
  if (!said) return;
  if (!said.failed) return waiting.get(said.turn)?.(said);
  const error = "Many are asking just now. Wait a moment, then try again.";
  [...waiting.values()].forEach((answer) => answer({ error, later: true }));
});

function nameless(file) {
  const numbers = crypto.getRandomValues(new Uint32Array(4));
  const ending = /\.\w{1,5}$/.exec(file.name || "")?.[0] || ".jpg";
  return new File([file], [...numbers].map((n) => n.toString(36)).join("") + ending, { type: file.type });
}

const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

// Where too many ask at once, or one asks too often, it goes on a moment later.
async function patiently(attempt) {
  for (const seconds of [1, 3, 6]) {
    const said = await attempt();
    if (!said.later) return said;
    await pause(seconds * (0.5 + Math.random()));
  }
  return attempt();
}

async function store(file) {
  try {
    return { path: (await upload(nameless(file))).path };
  } catch {
    return { error: "The photo could not be sent. Wait a moment, then try again.", later: true };
  }
}

async function answerFor(about, label) {
  const question = label ? { label } : {};
  if (about.file === undefined) return patiently(() => ask({ ...question, example: about.example }));
  if (about.file.size > LIMIT) {
    const size = (about.file.size / 1e6).toFixed(1);
    return { error: `The photo has ${size} MB; at most ${props.megabytes} MB are taken. Save it smaller.` };
  }
  const stored = await patiently(() => store(about.file));
  return stored.error ? stored : patiently(() => ask({ ...question, photo: stored.path }));
}

function picture(about) {
  const image = document.createElement("img");
  image.alt = about.file?.name || "Example photo";
  image.src = about.file ? URL.createObjectURL(about.file) : props.examples[about.example];
  image.onerror = () => {
    const none = document.createElement("div"); // a browser cannot show every format that the server can
    none.className = "tl-no-picture";
    none.textContent = "?";
    image.replaceWith(none);
  };
  return image;
}

function forgetPicture(image) {
  if (image?.src.startsWith("blob:")) URL.revokeObjectURL(image.src);
}

function complaint(text) {
  const message = document.createElement("div");
  message.className = "tl-message tl-error";
  message.textContent = text;
  return message;
}

async function show(about) {
  const card = document.createElement("article");
  card.className = "tl-card";
  card.dataset.photo = "";
  card.setAttribute("aria-busy", "true");
  const figure = document.createElement("figure");
  const body = document.createElement("div");
  body.innerHTML = '<div class="tl-bar tl-bar-unknown"><i></i></div>';
  figure.append(picture(about));
  card.append(figure, body);
  asked.set(card, about);
  cards.prepend(card);
  while (cards.children.length > KEPT) {
    forgetPicture(cards.lastChild.querySelector("img"));
    cards.lastChild.remove();
  }
  const said = await answerFor(about);
  card.removeAttribute("aria-busy");
  if (said.error) return body.replaceChildren(complaint(said.error));
  body.innerHTML = said.html; // made and escaped by the server
  const why = document.createElement("button");
  Object.assign(why, { type: "button", className: "tl-why-ask", textContent: "Why?" });
  why.dataset.label = said.label;
  why.title = "Shows what on the photo spoke for its class, and the photo again.";
  figure.append(why);
}

// Why?
cards?.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-label]");
  if (!button) return;
  const card = button.closest("[data-photo]");
  const shown = card.dataset.explained;
  if (shown && (button.classList.contains("tl-why-ask") || shown === button.dataset.label)) return put(card, "");
  if (card.getAttribute("aria-busy")) return;
  card.setAttribute("aria-busy", "true");
  const said = await answerFor(asked.get(card), button.dataset.label);
  card.removeAttribute("aria-busy");
  say(said.error || "", true);
  if (!said.error) put(card, said.label, said.picture, said.legend);
});

// One photo at a time also for many: the server never holds more than one of a visitor's.
async function fill(list) {
  rows.hidden = false;
  const body = rows.querySelector("tbody");
  busier(1);
  for (const [number, file] of list.entries()) {
    say(`Photo ${number + 1} of ${list.length}…`);
    const row = body.insertRow();
    row.insertCell().append(picture({ file }));
    const text = row.insertCell();
    const share = row.insertCell();
    line(text, "tl-fine", file.name);
    const said = await answerFor({ file });
    if (said.note || said.error) text.prepend(line(text, "tl-fine", said.note || said.error));
    text.prepend(line(text, "tl-said", said.label || "–"));
    share.textContent = said.confidence || "–";
    asked.set(row, [file.name, said.label || "", said.share ?? "", said.error || said.note]);
  }
  busier(-1);
  say(`${list.length === 1 ? "1 photo" : `${list.length} photos`} done.`);
}

function line(cell, css, text) {
  const made = document.createElement("p");
  made.className = css;
  made.textContent = text;
  cell.append(made);
  return made;
}

function take(list) {
  if (cards) return show({ file: list[0] });
  if (busy) return say("Wait until these photos are done.", true);
  const room = props.most - rows.querySelectorAll("tbody tr").length;
  if (list.length > room) return say(`At most ${props.most} photos fit into the table; ${room} more can be added.`, true);
  return fill(list);
}

// A cell that a spreadsheet would take for a formula is marked as text.
const cell = (value) => `"${String(value).replace(/^(?=[=+\-@\t])/, "'").replaceAll('"', '""')}"`;

buttons.csv?.addEventListener("click", () => {
  const told = [...rows.querySelectorAll("tbody tr")].map((row) => asked.get(row)).filter(Boolean);
  const lines = [["photo", "class", "confidence", "note"], ...told].map((line) => line.map(cell).join(","));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`\ufeff${lines.join("\r\n")}\r\n`], { type: "text/csv" }));
  link.download = "answers.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});

buttons.empty?.addEventListener("click", () => {
  if (busy) return say("Wait until these photos are done.", true);
  rows.querySelectorAll("img").forEach(forgetPicture);
  rows.querySelector("tbody").replaceChildren();
  rows.hidden = true;
  say("");
});

const examples = element.querySelector(".tl-examples");
props.examples?.forEach((source, number) => {
  examples.hidden = false;
  const button = document.createElement("button");
  const image = document.createElement("img");
  button.type = "button";
  button.title = "Asks about this photo.";
  image.src = source;
  image.alt = `Example ${number + 1}`;
  button.append(image);
  button.addEventListener("click", () => show({ example: number }));
  examples.querySelector("div").append(button);
});
