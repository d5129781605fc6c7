// Puts one tree in place of another, and keeps every element that may stay: with it stay focus,
// selection and scroll. Rows are known again by data-key.

export function morph(now, wanted) {
  attributes(now, wanted);
  children(now, wanted);
}

function attributes(now, wanted) {
  for (const { name } of [...now.attributes]) {
    if (!wanted.hasAttribute(name) && !kept(now, name)) now.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (now.getAttribute(name) !== value && !kept(now, name)) now.setAttribute(name, value);
  }
}

// What the reader did stays as it is.
function kept(element, name) {
  return name === "open" && element.tagName === "DETAILS";
}

function children(now, wanted) {
  const known = new Map();
  for (const child of now.children) if (child.dataset?.key) known.set(child.dataset.key, child);
  let place = now.firstChild;
  for (const fresh of [...wanted.childNodes]) {
    const key = fresh.dataset?.key;
    const match = key ? known.get(key) : fits(place, fresh) ? place : null;
    if (!match) {
      now.insertBefore(document.importNode(fresh, true), place);
      continue;
    }
    if (match === place) place = place.nextSibling;
    else now.insertBefore(match, place);
    if (match.nodeType === Node.ELEMENT_NODE) morph(match, fresh);
    else if (match.data !== fresh.data) match.data = fresh.data;
  }
  while (place) {
    const gone = place;
    place = place.nextSibling;
    gone.remove();
  }
}

function fits(place, fresh) {
  return place && place.nodeName === fresh.nodeName && !place.dataset?.key;
}
