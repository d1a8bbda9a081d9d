// What every page has: keys, copying, picking a few of many. Pages work without any of it.

const off = "keys-off";
const goals = { r: "/runs", a: "/attacks", p: "/privacy", c: "/classify" };
let waiting = 0; // until when the second key of "g r" may come

const typing = (target) => target.closest("input:not([type=checkbox], [type=radio]), select, textarea, [contenteditable]") !== null;
const open = (path) => document.querySelector(`.side a[href="${path}"]`) && location.assign(path);

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (typing(event.target) || document.querySelector("dialog[open]") || localStorage.getItem(off)) return;
  if (Date.now() < waiting) {
    waiting = 0;
    if (goals[event.key]) open(goals[event.key]);
    return;
  }
  if (event.key === "g") waiting = Date.now() + 1500;
  else if (event.key === "/") focusFilter(event);
  else if (event.key === "n" && document.querySelector(".side a[href='/runs']")) location.assign("/runs/new");
  else if (event.key === "?") document.getElementById("keys")?.showModal();
}

function focusFilter(event) {
  const filter = document.querySelector("[data-filter]");
  if (filter) {
    event.preventDefault();
    filter.focus();
    filter.select();
  } else open("/runs");
}

async function copy(event) {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = button.parentElement.querySelector("code, pre").textContent;
  await navigator.clipboard.writeText(text);
  const said = button.lastChild.textContent;
  button.lastChild.textContent = "Copied";
  setTimeout(() => (button.lastChild.textContent = said), 1500);
}

// A button that needs some of the boxes of its form ticked, and at most `data-pick` of them.
function pick(button) {
  const boxes = () => [...document.querySelectorAll("input[name=run]")].filter((box) => box.form === button.form);
  const judge = () => {
    const ticked = boxes().filter((box) => box.checked).length;
    button.disabled = ticked < 1;
    for (const box of boxes()) box.disabled = !box.checked && ticked >= Number(button.dataset.pick);
  };
  document.addEventListener("change", judge);
  judge();
}

// What can be scrolled sideways can be reached by the keyboard; what cannot costs no stop.
function scrollers() {
  for (const each of document.querySelectorAll(".scroll")) {
    const wide = each.scrollWidth > each.clientWidth;
    each.toggleAttribute("tabindex", wide);
    if (wide) {
      each.tabIndex = 0;
      each.setAttribute("role", "group");
      each.ariaLabel ||= "table, scrolls sideways";
    }
  }
}

const box = document.querySelector("[data-keys-off]");
if (box) {
  box.checked = localStorage.getItem(off) !== null;
  box.addEventListener("change", () => (box.checked ? localStorage.setItem(off, "1") : localStorage.removeItem(off)));
}
const copiers = () => navigator.clipboard && document.querySelectorAll("[data-copy]").forEach((each) => (each.hidden = false));
copiers();
document.querySelectorAll("[data-pick]").forEach(pick);
document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
scrollers();
addEventListener("resize", scrollers);
document.addEventListener("toggle", scrollers, true);
document.addEventListener("part", scrollers);
document.addEventListener("part", copiers);
document.addEventListener("keydown", key);
document.addEventListener("click", copy);
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll(".more details[open]")) if (!menu.contains(event.target)) menu.open = false;
});
