// Fetches the page that stands in the address bar anew, and puts in place what differs.
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
  if (!answer.ok && answer.status !== 404) throw new Error(`status ${answer.status}`);
  const wanted = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (address !== location.href) return refreshSoon();
  setClock(wanted.body.dataset.now);
  const rows = keys();
  const focused = document.activeElement;
  for (const part of wanted.querySelectorAll("[data-live]")) {
    const here = document.querySelector(`[data-live="${part.dataset.live}"]`);
    if (here) morph(here, part);
  }
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  document.title = wanted.title;
  tick();
  say(rows);
}

function keys() {
  const found = new Map();
  for (const row of document.querySelectorAll(".jobs tr[data-key]")) found.set(row.dataset.key, standing(row));
  return found;
}

function standing(row) {
  return `${row.querySelector("a").textContent}: ${row.querySelector(".state .name").textContent}`;
}

// Marks the rows that changed, and says politely what became of the whole.
function say(before) {
  for (const row of document.querySelectorAll(".jobs tr[data-key]")) {
    row.classList.toggle("fresh", before.size > 0 && before.get(row.dataset.key) !== standing(row));
  }
  const verdict = document.getElementById("verdict")?.innerText.replace(/\s+/g, " ").trim();
  const said = document.getElementById("said");
  if (verdict && said.textContent !== verdict) said.textContent = verdict;
}
