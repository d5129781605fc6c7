// Listens to the daemon's events, and says so when it cannot.

import { refreshSoon } from "./refresh.js";

const REOPEN = 5000;
const EVENTS = "/api/v1/events";

let goodUntil = new Date();

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
  if (connection.dataset.state === "on") goodUntil = new Date();
  connection.dataset.state = state;
  document.getElementById("connection-words").textContent = words;
  document.getElementById("lost-since").textContent = goodUntil.toLocaleTimeString();
  document.getElementById("lost").hidden = state !== "lost";
}
