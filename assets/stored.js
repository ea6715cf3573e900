// After drop.js: the original bytes go to the server, unread here, since a browser cannot show every format that the
// server can. Triggers "upload" with the stored paths.
async function take(list) {
  busier(1);
  const sent = [];
  try {
    for (const file of list) {
      say(`Uploading ${sent.length + 1} of ${list.length}…`);
      const stored = await upload(file);
      sent.push({ path: stored.path, name: file.name });
    }
    say("");
  } catch (error) {
    say(`The upload failed: ${error.message || error}. Is the app still running?`, true);
  }
  busier(-1);
  if (sent.length) trigger("upload", { photos: sent });
}
