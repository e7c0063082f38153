// Elements of the page. Text goes in as text, never as HTML.

const SVG = "http://www.w3.org/2000/svg";

export const found = (id) => document.getElementById(id);

/** A new element. @param children: elements, or strings, which become text */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function drawing(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Write text where it is another than what stands there: a selection in it lives as long as it can. */
export function write(place, text) {
  if (place.textContent !== text) {
    place.textContent = text;
  }
}

/** Set an attribute; null takes it away. */
export function mark(place, name, value) {
  if (value === null || value === undefined || value === "") {
    place.removeAttribute(name);
  } else if (place.getAttribute(name) !== value) {
    place.setAttribute(name, value);
  }
}

/** The lines of a list. */
export function list(place, lines) {
  while (place.children.length > lines.length) {
    place.lastElementChild.remove();
  }
  while (place.children.length < lines.length) {
    place.append(element("li"));
  }
  lines.forEach((line, at) => write(place.children[at], line));
}
