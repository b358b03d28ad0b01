// Elements without HTML: text is always set as text.

export const find = (id) => document.getElementById(id);

/** An element; props are attributes, `on` listeners by event, `text` its text. */
export function el(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") made.textContent = value;
    else if (name === "on") for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    else if (name === "class") made.className = value;
    else if (name === "value") made.value = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const PATHS = {
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  again: "M20 11a8 8 0 1 0-2.3 6.3M20 4v7h-7",
  back: "M15 6l-6 6 6 6",
  on: "M9 6l6 6-6 6",
  bin: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
};

/** A picture that says nothing to a screen reader. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** A small button with a picture and a name. */
export function iconButton(name, label, listener) {
  return el("button", { type: "button", class: "mini", "aria-label": label, title: label, on: { click: listener } }, icon(name));
}

/** A message about something that went wrong. */
export function alertOf(text) {
  return el("p", { class: "alert", role: "alert", text });
}

/** Tell a screen reader what happened. */
export function say(text) {
  find("status").textContent = text;
}

/** Call `draw` at most once a frame. */
export function framed(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(); });
  };
}

/** Follow the end of a scrolled box, unless the reader has scrolled up. */
export function following(box) {
  const near = box.scrollHeight - box.scrollTop - box.clientHeight < 80;
  return () => { if (near) box.scrollTop = box.scrollHeight; };
}

export async function copyText(text, done) {
  await navigator.clipboard.writeText(text);
  say(done);
}
