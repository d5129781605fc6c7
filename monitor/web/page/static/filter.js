// Filters while the reader types; the address follows, so that it can be shared.

import { base } from "./base.js";
import { refreshSoon } from "./refresh.js";

const PAUSE = 200;

export function filter() {
  const form = document.getElementById("filter");
  if (!form) return;
  let timer = 0;
  const apply = () => {
    history.replaceState(null, "", address(form));
    refreshSoon();
  };
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(apply, PAUSE);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    apply();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, textarea, dialog")) return;
    event.preventDefault();
    form.elements.q.select();
  });
}

function address(form) {
  const query = new URLSearchParams(new FormData(form));
  for (const [name, value] of [...query]) if (!value.trim()) query.delete(name);
  return query.size ? `${base}/?${query}` : `${base}/`;
}
