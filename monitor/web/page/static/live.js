// Listens to the daemon's events, and says so when it cannot.

import { base } from "./base.js";
import { refreshSoon } from "./refresh.js";
import { serverTime, tick, utc } from "./ticking.js";

const REOPEN = 5000;
const EVENTS = `${base}/api/v1/events`;

let goodUntil = null;

export function listen() {
  const source = new EventSource(EVENTS);
  source.onopen = () => {
    show("on", "live");
    refreshSoon();
  };
  source.onerror = () => {
    show("lost", "not live");
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, REOPEN);
  };
  for (const kind of document.body.dataset.kinds.split(" ")) source.addEventListener(kind, refreshSoon);
}

function show(state, words) {
  const connection = document.getElementById("connection");
  if (connection.dataset.state === "on" || !goodUntil) goodUntil = serverTime();
  connection.dataset.state = state;
  document.getElementById("connection-words").textContent = words;
  const since = document.getElementById("lost-since");
  since.textContent = utc(goodUntil);
  for (const time of [since, document.getElementById("lost-ago")]) time.dateTime = goodUntil.toISOString();
  document.getElementById("lost").hidden = state !== "lost";
  tick();
}
