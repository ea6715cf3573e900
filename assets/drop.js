// A place for photos: drop, choose, paste or take them. The script that follows says what becomes of them: take(files).
const zone = element.querySelector(".tl-drop");
const input = element.querySelector("input[type=file]");
const note = element.querySelector(".tl-drop-note");
const camera = element.querySelector(".tl-camera");
const video = element.querySelector("video");
const buttons = Object.fromEntries([...element.querySelectorAll("[data-act]")].map((b) => [b.dataset.act, b]));
let stream = null;
let busy = 0;

function say(message, isError = false) {
  note.textContent = message;
  note.classList.toggle("tl-error", isError);
}

function busier(by) {
  busy += by;
  zone.classList.toggle("tl-busy", busy > 0);
}

function send(files) {
  const list = [...files].filter((file) => file.size > 0 || file.type);
  if (list.length) take(list);
}

input.addEventListener("change", () => {
  send(input.files);
  input.value = "";
});
["dragenter", "dragover"].forEach((kind) =>
  zone.addEventListener(kind, (event) => {
    event.preventDefault();
    zone.classList.add("tl-over");
  }),
);
["dragleave", "drop"].forEach((kind) =>
  zone.addEventListener(kind, (event) => {
    event.preventDefault();
    zone.classList.remove("tl-over");
  }),
);
zone.addEventListener("drop", (event) => send(event.dataTransfer.files));

// Ctrl+V anywhere while this tab is the one shown, unless one pastes text into a field.
document.addEventListener("paste", (event) => {
  if (!element.offsetParent || !event.clipboardData) return;
  const files = [...event.clipboardData.files];
  if (!files.length) return;
  event.preventDefault();
  send(files);
});

buttons.paste.addEventListener("click", async () => {
  try {
    const files = [];
    for (const item of await navigator.clipboard.read()) {
      const kind = item.types.find((type) => type.startsWith("image/"));
      if (kind) files.push(new File([await item.getType(kind)], `pasted.${kind.split("/")[1]}`, { type: kind }));
    }
    if (files.length) send(files);
    else say("There is no picture in the clipboard. Copy one first, then paste.", true);
  } catch {
    say("The browser did not allow it. Press Ctrl+V (⌘V on a Mac) instead.", true);
  }
});

buttons.camera.addEventListener("click", async () => {
  if (stream) return stopCamera();
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    video.srcObject = stream;
    await video.play();
    camera.hidden = false;
    buttons.camera.textContent = "Close webcam";
    say("");
  } catch (error) {
    const why = navigator.mediaDevices ? error.message : "it works only on this machine or over https";
    stopCamera();
    say(`The webcam cannot be used: ${why}.`, true);
  }
});

buttons.shoot.addEventListener("click", () => {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => blob && send([new File([blob], "webcam.png", { type: "image/png" })]), "image/png");
});

function stopCamera() {
  if (stream) stream.getTracks().forEach((track) => track.stop());
  stream = null;
  camera.hidden = true;
  buttons.camera.textContent = "Webcam";
}
// The camera's light must not stay on behind another tab.
new IntersectionObserver(([entry]) => entry.isIntersecting || stopCamera()).observe(element);
