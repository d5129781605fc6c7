// The prefix of all addresses: empty, or where a reverse proxy serves the monitor.

export const base = document.body.dataset.base;
