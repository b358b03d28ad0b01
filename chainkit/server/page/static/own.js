// Documents of one's own: uploaded into an index that only this browser knows the name of.

import { asked } from "./api.js";
import { alertOf, el, find, icon, iconButton, say } from "./dom.js";
import { bytes, counted, t } from "./i18n.js";
import { forget, keep, read } from "./kept.js";

let held = null; // what the server says of the index
let name = read("own");

export function start() {
  const files = find("own-files");
  const drop = find("drop");
  find("own-choose").addEventListener("click", () => files.click());
  files.addEventListener("change", () => { upload([...files.files]); files.value = ""; });
  for (const event of ["dragenter", "dragover"]) {
    drop.addEventListener(event, (drag) => { drag.preventDefault(); drop.classList.add("over"); });
  }
  for (const event of ["dragleave", "drop"]) drop.addEventListener(event, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => { event.preventDefault(); upload([...event.dataTransfer.files]); });
  document.addEventListener("language", draw);
  document.addEventListener("models", look);
}

/** The model to ask; raises where there is no document. */
export function required() {
  if (!held?.data.length) throw new Error(t("own.none"));
  return held.id;
}

async function look() {
  if (name) {
    try {
      held = await asked(`/v1/own/${name}`);
    } catch (error) {
      if (error.status !== 404) return;
      forgotten();
    }
  }
  draw();
}

function forgotten() {
  held = name = null;
  forget("own");
}

async function made() {
  if (!held) {
    held = await asked("/v1/own", { method: "POST", body: "" });
    name = held.id;
    keep("own", name);
  }
  return held.id;
}

async function upload(chosen) {
  for (const file of chosen) {
    const row = el("li", { class: "busy" }, icon("file"), el("span", { class: "name", text: file.name }),
      el("span", { class: "fine", text: t("own.reading") }));
    find("own-list").append(row);
    try {
      held = await put(file);
      say(t("own.added", { name: file.name }));
      row.remove();
      draw();
    } catch (error) {
      row.replaceChildren(alertOf(`${file.name}: ${error.message}`),
        iconButton("bin", t("own.dismiss"), () => row.remove()));
      row.className = "wrong";
    }
  }
}

async function put(file) {
  const send = async () => asked(`/v1/own/${await made()}/${encodeURIComponent(file.name)}`, { method: "PUT", body: file });
  try {
    return await send();
  } catch (error) {
    if (error.code !== "unknown_index") throw error;
    forgotten(); // the server has begun anew meanwhile
    return send();
  }
}

async function remove(title) {
  held = await asked(`/v1/own/${name}/${encodeURIComponent(title)}`, { method: "DELETE" });
  say(t("own.removed", { name: title }));
  draw();
  find("own-choose").focus();
}

function draw() {
  const list = find("own-list");
  const others = [...list.children].filter((row) => row.className);
  const rows = (held?.data ?? []).map(({ title, bytes: size }) => el("li", {}, icon("file"),
    el("span", { class: "name", text: title }), el("span", { class: "fine", text: bytes(size) }),
    iconButton("bin", t("own.remove", { name: title }), () => remove(title))));
  list.replaceChildren(...rows, ...others);
  find("own-limits").textContent = held
    ? t("own.limits", { documents: counted("documents", held.limits.documents), size: bytes(held.limits.bytes) })
    : t("own.kinds");
}
