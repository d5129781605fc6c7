// Fetches the page again and replaces what has changed.
// One fetch at a time, and none sooner than ten times what the last one took.

import { morph } from "./morph.js";
import { setClock, tick } from "./ticking.js";

const LEAST_GAP = 250;
const SHARE = 10;

let timer = 0;
let fetching = false;
let again = false;
let earliest = 0;

export function refreshSoon() {
  if (fetching) again = true;
  else if (!timer) timer = setTimeout(refresh, Math.max(0, earliest - performance.now()));
}

async function refresh() {
  timer = 0;
  fetching = true;
  const began = performance.now();
  try {
    await renew();
  } catch {
    // The event stream says whether the daemon is gone; it asks for a refresh when it is back.
  }
  fetching = false;
  earliest = performance.now() + Math.max(LEAST_GAP, SHARE * (performance.now() - began));
  if (again) {
    again = false;
    refreshSoon();
  }
}

async function renew() {
  const address = location.href;
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  if (!answer.ok && ![404, 503].includes(answer.status)) throw new Error(`status ${answer.status}`);
  const fetched = new DOMParser().parseFromString(await answer.text(), "text/html");
  // A proxy has pages of its own for when it does not reach the daemon.
  if (!fetched.body.dataset.now) throw new Error("not a page of ours");
  if (address !== location.href) return refreshSoon();
  setClock(fetched.body.dataset.now);
  const rows = keys();
  const focused = document.activeElement;
  for (const part of fetched.querySelectorAll("[data-live]")) {
    const here = document.querySelector(`[data-live="${part.dataset.live}"]`);
    if (here) morph(here, part);
  }
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  // Whoever loaded the page while the store was lost has nothing to put the rest into.
  if (answer.ok && document.getElementById("without-store")) return location.reload();
  if (answer.status !== 503) document.title = fetched.title;
  tick();
  say(rows);
}

function keys() {
  const found = new Map();
  for (const row of document.querySelectorAll(".jobs tr[data-key]")) found.set(row.dataset.key, status(row));
  return found;
}

function status(row) {
  return `${row.querySelector("a").textContent}: ${row.querySelector(".state .name").textContent}`;
}

// Marks the rows that changed, and announces the summary to screen readers.
function say(before) {
  for (const row of document.querySelectorAll(".jobs tr[data-key]")) {
    row.classList.toggle("fresh", before.size > 0 && before.get(row.dataset.key) !== status(row));
  }
  const summary = document.getElementById("summary")?.innerText.replace(/\s+/g, " ").trim();
  const announcer = document.getElementById("said");
  if (summary && announcer.textContent !== summary) announcer.textContent = summary;
}
