// The new-run form, judged while it is filled in, by the server that judges it in the end.
// (A field named `dataset` hides `form.dataset`; hence getAttribute.)

const form = document.querySelector("form[data-judged]");
const verdict = form.querySelector("[data-verdict]");
const command = form.querySelector(".copy code");
const touched = new Set();
let timer = 0, asked = 0;

async function judge() {
  const turn = ++asked;
  const answer = await fetch(form.getAttribute("data-judged"), {
    method: "POST",
    body: new URLSearchParams(new FormData(form)),
    headers: { Accept: "application/json", "X-CSRF-Token": document.querySelector("meta[name=csrf-token]").content },
  });
  if (!answer.ok || turn !== asked) return;
  const { errors, command: words } = await answer.json();
  for (const place of form.querySelectorAll(".error")) {
    const key = place.id.replace(/-error$/, "");
    const wrong = touched.has(key) || errors[key] ? (errors[key] ?? "") : "";
    place.textContent = wrong;
    const field = document.getElementById(key);
    if (wrong) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
    if (wrong) field.closest("details")?.setAttribute("open", "");
  }
  const count = Object.keys(errors).length;
  if (words) command.textContent = words;
  verdict.textContent = errors[""] ?? (count ? `${count === 1 ? "One setting" : `${count} settings`} cannot be as it is; the command is that of the last valid form.` : "");
}

form.addEventListener("input", (event) => {
  touched.add(event.target.name);
  clearTimeout(timer);
  timer = setTimeout(judge, 300);
});
