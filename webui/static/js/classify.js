// The page Classify: pictures come by choosing, dropping, pasting or the camera; each gets a card of its own.
// One picture is asked about at a time, so a batch never crowds out what others ask.

const zone = document.querySelector("[data-drop]");
const answers = document.querySelector("[data-answers]");
const template = document.querySelector("[data-card]");
const token = document.querySelector('meta[name="csrf-token"]').content;
const MOST = 24;
let line = Promise.resolve();
let count = 0;

function take(files) {
  const pictures = [...files].slice(0, MOST);
  for (const file of pictures) {
    const card = newCard(file);
    answers.prepend(card);
    line = line.then(() => ask(card, file));
  }
}

function newCard(file) {
  const card = template.content.firstElementChild.cloneNode(true);
  const at = (name) => card.querySelector(`[data-${name}]`);
  at("name").textContent = file.name;
  at("preview").addEventListener("error", () => { at("preview").hidden = true; });
  at("remove").addEventListener("click", () => { URL.revokeObjectURL(at("preview").src); card.remove(); });
  const choice = card.querySelector("select");
  choice.id = `truth-${++count}`;
  card.querySelector("label").htmlFor = choice.id;
  return card;
}

async function send(address, file, fields = {}) {
  const body = new FormData();
  body.append("image", file);
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  return fetch(address, { method: "POST", body, headers: { "X-CSRF-Token": token, Accept: "application/json" } });
}

async function refusal(response) {
  const kind = response.headers.get("Content-Type") ?? "";
  if (!kind.includes("json")) return `The server answered ${response.status}.`;
  const problem = await response.json();
  return [problem.title, problem.detail, problem.hint].filter(Boolean).join(". ");
}

async function ask(card, file) {
  const at = (name) => card.querySelector(`[data-${name}]`);
  card.setAttribute("aria-busy", "true");
  try {
    const response = await send(zone.dataset.predict, file);
    if (!response.ok) return fail(card, await refusal(response));
    show(card, file, await response.json());
  } catch {
    fail(card, "The server cannot be reached. Try again.");
  } finally {
    card.removeAttribute("aria-busy");
  }
}

function fail(card, words) {
  const fault = card.querySelector("[data-fault]");
  fault.textContent = words;
  fault.hidden = false;
}

function show(card, file, said) {
  const at = (name) => card.querySelector(`[data-${name}]`);
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  // Only now: a picture that the server would not take, this browser does not unpack either.
  at("preview").src = URL.createObjectURL(file);
  at("preview").alt = `your picture ${file.name}`;
  at("preview").hidden = false;
  at("top").textContent = said.guesses[0].label;
  at("confidence").textContent = said.confidence;
  for (const guess of said.guesses) {
    const row = at("guesses").insertRow();
    const name = document.createElement("th");
    name.scope = "row";
    name.textContent = guess.label;
    row.append(name);
    const bar = document.createElement("progress");
    bar.max = 1;
    bar.value = guess.probability;
    bar.setAttribute("aria-label", guess.label);
    row.insertCell().append(bar);
    const share = row.insertCell();
    share.className = "num";
    share.textContent = percent(guess.probability);
  }
  at("numbers").textContent =
    `margin ${percent(said.margin)} · entropy ${said.entropy.toFixed(2)} of 1 · ` +
    `${Math.round(said.total_ms)} ms, the model alone ${said.model_ms.toFixed(1)} ms`;
  at("said").hidden = false;
  at("why").hidden = false;
  at("why").addEventListener("click", () => explain(card, file, said.guesses[0].label));
  at("wrong").addEventListener("submit", (event) => flag(event, card, said));
}

async function explain(card, file, label) {
  const at = (name) => card.querySelector(`[data-${name}]`);
  const heat = at("heat"), button = at("why");
  if (!heat.src) {
    const response = await send(zone.dataset.explain, file, { label });
    if (!response.ok) return fail(card, await refusal(response));
    heat.src = URL.createObjectURL(await response.blob());
    heat.alt = `the picture in grey, orange where it spoke for ${label}`;
  }
  heat.hidden = !heat.hidden;
  button.textContent = heat.hidden ? "Show where it looked" : "Hide where it looked";
}

async function flag(event, card, said) {
  event.preventDefault();
  const actual = new FormData(event.target).get("actual");
  const response = await fetch(zone.dataset.flag, {
    method: "POST",
    headers: { "X-CSRF-Token": token, "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify({ image_sha256: said.image.sha256, predicted: said.guesses[0].label, actual }),
  });
  card.querySelector("[data-flagged]").textContent = response.ok ? "Noted. Thank you." : await refusal(response);
}

document.querySelector("#files").addEventListener("change", (event) => { take(event.target.files); event.target.value = ""; });
for (const name of ["dragenter", "dragover"]) zone.addEventListener(name, (event) => { event.preventDefault(); zone.classList.add("over"); });
for (const name of ["dragleave", "drop"]) zone.addEventListener(name, (event) => { event.preventDefault(); zone.classList.remove("over"); });
zone.addEventListener("drop", (event) => take(event.dataTransfer.files));
document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) take(event.clipboardData.files); });

const camera = document.querySelector("[data-camera]"), shot = document.querySelector("[data-shot]");
const video = document.querySelector("[data-video]");
if (navigator.mediaDevices?.getUserMedia) camera.hidden = false;
camera.addEventListener("click", async () => {
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
    await video.play();
    shot.hidden = false;
  } catch {
    camera.textContent = "No camera may be used";
    camera.disabled = true;
  }
});
document.querySelector("[data-close]").addEventListener("click", closeCamera);
document.querySelector("[data-snap]").addEventListener("click", () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => take([new File([blob], "camera.jpg", { type: "image/jpeg" })]), "image/jpeg", 0.9);
  closeCamera();
});

function closeCamera() {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
  shot.hidden = true;
}
