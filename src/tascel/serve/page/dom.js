// Elements in one line. Texts are always set as texts, never as markup.

export const byId = (id) => document.getElementById(id);

export function make(name, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "rect", "text", "g", "title"].includes(name);
  const element = svg
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
