// Keeps [data-part] what it is on the server. The stream only says *that* something has happened; what the page then
// shows is fetched as HTML, so that numbers are worded in one place. One fetch in 750 ms at most, none while hidden.

const mark = document.querySelector("[data-live]");
const announcer = document.querySelector("[data-announce]");
const GAP_MS = 750, SLOW_MS = 5000, SAY_MS = 10_000;
const icons = { live: "M12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6z", reconnecting: "M5 12a7 7 0 0 1 12-5l2 2M19 5v4h-4M19 12a7 7 0 0 1-12 5l-2-2M5 19v-4h4",
  stale: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 7.5V12l3 2", ended: "M5 12.5l4.5 4.5L19 7.5" };
let stream = null, timer = 0, fetched = 0, said = 0, saying = 0, slow = 0, last = "", over = false;

const tab = (sessionStorage.tab ??= crypto.randomUUID?.() ?? String(Math.random()));
const clock = () => new Date().toTimeString().slice(0, 8);

function show(state, text) {
  mark.hidden = false;
  mark.dataset.state = state;
  mark.querySelector("path").setAttribute("d", icons[state]);
  mark.lastElementChild.textContent = text;
}

async function refresh() {
  timer = 0;
  fetched = Date.now();
  try {
    const answer = await fetch(mark.dataset.refresh, { headers: { Accept: "text/html" } });
    if (answer.status === 401 || answer.status === 403 || answer.redirected) return location.reload();
    if (!answer.ok) throw new Error(String(answer.status));
    swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
    last = clock();
    if (slow) show("live", `asked every ${SLOW_MS / 1000} s, last at ${last}`);
    else if (over) show("ended", `ended, as of ${last}`);
  } catch {
    show("stale", `stale since ${last || clock()}`);
  }
}

// Replaces the part, but keeps what a person has opened, where they are, and figures whose tables have only grown.
function swap(fresh) {
  for (const part of document.querySelectorAll("[data-part]")) {
    const next = fresh.querySelector(`[data-part="${part.dataset.part}"]`);
    if (!next || part.contains(document.activeElement) && document.activeElement.closest("form, details table")) continue;
    for (const figure of part.querySelectorAll("[data-chart]")) {
      const other = next.querySelector(`[data-chart][data-key="${figure.dataset.key}"]`);
      if (!other) continue;
      figure.querySelector("table").replaceWith(other.querySelector("table"));
      figure.querySelector("p").textContent = other.querySelector("p").textContent;
      figure.querySelector(".plot").setAttribute("aria-label", other.querySelector(".plot").getAttribute("aria-label"));
      other.replaceWith(figure);
    }
    part.replaceWith(document.adoptNode(next));
  }
  document.dispatchEvent(new Event("part"));
  announce();
}

// What changed last is said, however much changed in between; once in ten seconds at most.
function announce() {
  saying ||= setTimeout(() => {
    saying = 0;
    const now = document.querySelector("[data-say]")?.dataset.say ?? "";
    if (!now || now === announcer.textContent) return;
    announcer.textContent = now;
    said = Date.now();
  }, Math.max(0, SAY_MS - (Date.now() - said)));
}

function soon() {
  if (!timer) timer = setTimeout(refresh, Math.max(0, GAP_MS - (Date.now() - fetched)));
}

function listen() {
  if (document.hidden || stream || slow || over) return;
  if (!mark.dataset.live || !window.EventSource) return ask();
  const url = new URL(mark.dataset.live, location.href);
  url.searchParams.set("tab", tab);
  stream = new EventSource(url);
  stream.onopen = () => show("live", "live");
  stream.onmessage = soon;
  stream.addEventListener("state", soon); // its process is gone, and will write no event that says so
  stream.addEventListener("end", () => {
    over = true;
    quit();
    refresh();
  });
  stream.onerror = () => {
    if (stream?.readyState === EventSource.CLOSED) {
      quit();
      ask(); // refused: as many live pages are open as there may be
    } else show("reconnecting", "reconnecting");
  };
}

function ask() {
  slow = setInterval(refresh, SLOW_MS);
  refresh();
}

function quit() {
  stream?.close();
  stream = null;
  clearInterval(slow);
  slow = 0;
}

if (mark) {
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      quit();
      if (!over) show("stale", `paused at ${clock()}`);
    } else {
      listen();
      if (!over) soon();
    }
  });
  addEventListener("pagehide", quit);
  addEventListener("pageshow", listen);
  listen();
}
