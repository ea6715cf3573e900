// Classifies photos in the browser. Network, runtime and figures are in this file; nothing is fetched or sent.
"use strict";
const $ = (id) => document.getElementById(id);
const about = JSON.parse($("model-about").textContent);
const SHOWN = 5;
const MAX_PIXELS = 50e6;
const DRAFT_MARGIN = 4; // a huge photo is drawn at a half, quarter or eighth, never below 4 times what is resized to
const CANVAS_PIXELS = 16e6; // phones draw no more
let ort = null;
let session = null;
let busy = false;

const percent = (share) => `${(100 * share).toFixed(share > 0.9995 || share < 0.0005 ? 0 : 1)} %`;

function fail(message) {
  $("error").textContent = message;
  $("error").hidden = false;
}

// A moment in which the page is drawn before the next long step.
const breath = () => new Promise((done) => setTimeout(done, 20));

async function stage(text, value) {
  $("stage").textContent = text;
  $("progress").value = value;
  await breath();
}

async function inflated(id) {
  const text = $(id).textContent;
  $(id).remove(); // the text is not needed twice
  const packed = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

async function load() {
  if (typeof WebAssembly !== "object" || typeof DecompressionStream !== "function")
    throw new Error("This browser is too old for it: Chrome 103, Safari 16.4, Firefox 113 and later ones will do.");
  await stage("Unpacking the runtime…", 10);
  const script = new Blob([await inflated("runtime-script")], { type: "text/javascript" });
  const url = URL.createObjectURL(script);
  ort = await import(url);
  URL.revokeObjectURL(url);
  ort.env.wasm.numThreads = 1; // threads need headers that a file cannot have
  ort.env.wasm.wasmBinary = await inflated("runtime-data");
  ort.env.logLevel = "error";
  await stage("Unpacking the network…", 40);
  const model = new Uint8Array(await inflated("model-data"));
  await stage("Starting the network…", 70);
  session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  await stage("Ready.", 100);
}

// The photo's pixels, upright, on white: {data: RGB bytes, width, height}. A huge photo is drawn smaller.
async function pixels(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Error("This browser cannot open the photo: it is damaged, no photo, or of a kind it does not read. Save it as JPEG or PNG.");
  }
  const { width: wide, height: high } = bitmap;
  if (wide * high > MAX_PIXELS) throw new Error("The photo has more than 50 megapixels. Save it smaller.");
  const asked = Math.floor(Math.min(wide, high) / (about.preprocessing.resize * DRAFT_MARGIN));
  let fraction = [8, 4, 2].find((each) => asked >= each) || 1;
  while ((wide * high) / fraction ** 2 > CANVAS_PIXELS) fraction *= 2;
  const canvas = $("picture");
  canvas.width = Math.ceil(wide / fraction);
  canvas.height = Math.ceil(high / fraction);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "white";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
  const rgb = new Uint8Array((data.length / 4) * 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    rgb[to++] = data[from];
    rgb[to++] = data[from + 1];
    rgb[to++] = data[from + 2];
  }
  return { data: rgb, width: canvas.width, height: canvas.height };
}

// Probabilities of all classes, in their order.
async function classify(file) {
  const { data, width, height } = await pixels(file);
  const photos = new ort.Tensor("uint8", data, [1, height, width, 3]);
  const { probabilities } = await session.run({ photos });
  const found = Array.from(probabilities.data);
  photos.dispose();
  probabilities.dispose();
  return found;
}

function show(found, milliseconds) {
  const ranked = found.map((share, index) => [about.classes[index], share]).sort((a, b) => b[1] - a[1]);
  $("bars").replaceChildren(
    ...ranked.slice(0, SHOWN).map(([label, share]) => {
      const row = document.createElement("li");
      const [name, value, bar] = ["span", "span", "i"].map((kind) => row.appendChild(document.createElement(kind)));
      name.textContent = label;
      value.textContent = percent(share);
      bar.style.setProperty("--share", `${100 * share}%`);
      return row;
    }),
  );
  const threshold = about.sure_threshold;
  // Without a threshold no answer is sure, or nobody has measured it.
  $("doubt").hidden = threshold === null ? !about.calibrated : ranked[0][1] >= threshold - 1e-6;
  $("took").textContent = `Computed on this device in ${Math.round(milliseconds)} ms.`;
  $("answer").hidden = false;
}

async function ask(file) {
  if (!file || busy || !session) return;
  busy = true;
  document.body.classList.add("busy");
  $("error").hidden = true;
  try {
    await breath();
    const start = performance.now();
    const found = await classify(file);
    show(found, performance.now() - start);
  } catch (error) {
    $("answer").hidden = true;
    fail(error instanceof Error ? error.message : `The network could not answer: ${error}.`);
  }
  busy = false;
  document.body.classList.remove("busy");
}

for (const id of ["camera", "photo"])
  $(id).addEventListener("change", (event) => {
    ask(event.target.files[0]);
    event.target.value = ""; // so that the same photo can be chosen again
  });
addEventListener("paste", (event) => ask([...(event.clipboardData?.files || [])][0]));
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", () => document.body.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  ask(event.dataTransfer.files[0]);
});

$("about").textContent = `${about.classes.length} classes: ${about.classes.slice(0, 12).join(", ")}${about.classes.length > 12 ? ", …" : ""}`;
$("figures").textContent = about.figures;
load().then(
  () => {
    $("loading").hidden = true;
    $("asking").hidden = false;
    document.body.dataset.state = "ready";
  },
  (error) => {
    $("loading").hidden = true;
    document.body.dataset.state = "failed";
    fail(`The network could not be loaded. ${error instanceof Error ? error.message : error}`);
  },
);
