// A place for one exported model: a file, a zip, or a folder with its files. The bytes go to the server, unread here.
// Triggers "upload" with the stored paths and the names that the files have in their folder.
const zone = element.querySelector(".tl-drop");
const note = element.querySelector(".tl-drop-note");
const inputs = element.querySelectorAll("input[type=file]");
const MOST_FILES = 200;
let busy = false;

function say(message, isError = false) {
  note.textContent = message;
  note.classList.toggle("tl-error", isError);
}

async function send(list) {
  list = list.filter(([, name]) => !name.split("/").some((part) => part.startsWith(".")));
  if (!list.length || busy) return;
  if (list.length > MOST_FILES)
    return say(`This folder holds ${list.length} files, and a model has up to ${MOST_FILES}.`, true);
  busy = true;
  zone.classList.add("tl-busy");
  const sent = [];
  try {
    for (const [file, name] of list) {
      say(`Uploading ${sent.length + 1} of ${list.length}…`);
      const stored = await upload(file);
      sent.push({ path: stored.path, name });
    }
    say("");
    trigger("upload", { files: sent });
  } catch (error) {
    say(`The upload failed: ${error.message || error}. Is the app still running?`, true);
  }
  busy = false;
  zone.classList.remove("tl-busy");
}

// All files in a dropped file or folder, each with its name in there.
async function walk(entry, found) {
  if (found.length > MOST_FILES) return found;
  if (entry.isFile) {
    const file = await new Promise((done, failed) => entry.file(done, failed));
    found.push([file, entry.fullPath.replace(/^\//, "")]);
  } else {
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!some.length) break; // it hands them out a hundred at a time
      for (const each of some) await walk(each, found);
    }
  }
  return found;
}

inputs.forEach((input) =>
  input.addEventListener("change", () => {
    send([...input.files].map((file) => [file, file.webkitRelativePath || file.name]));
    input.value = "";
  }),
);
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
zone.addEventListener("drop", async (event) => {
  // Entries are gone after the first await.
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const found = entries.length ? [] : [...event.dataTransfer.files].map((file) => [file, file.name]);
  for (const entry of entries) await walk(entry, found);
  send(found);
});
