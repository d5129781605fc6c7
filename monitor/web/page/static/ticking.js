// Lets the times on the page go on, on the clock of the server.

let skew = 0;

export function setClock(text) {
  skew = Date.parse(text) - Date.now();
}

// The time of the server's clock, in UTC.
export function serverTime() {
  return new Date(Date.now() + skew);
}

export function utc(time) {
  return `${time.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

export function tick() {
  const now = Date.now() + skew;
  for (const time of document.querySelectorAll("time[data-tick]")) {
    const at = Date.parse(time.dateTime);
    const text = span((time.dataset.tick === "until" ? at - now : now - at) / 1000);
    if (time.textContent !== text) time.textContent = text;
  }
}

export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${whole % 60}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h ${Math.floor((whole % 3600) / 60)}m`;
  return `${Math.floor(whole / 86400)}d ${Math.floor((whole % 86400) / 3600)}h`;
}
