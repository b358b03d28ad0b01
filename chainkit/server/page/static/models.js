// What the server has, and the lists to choose from.

import { asked } from "./api.js";
import { el } from "./dom.js";
import { keep, read } from "./kept.js";

let all = null; // not known yet

export async function load() {
  all = (await asked("/v1/models")).data;
  document.dispatchEvent(new Event("models"));
}

export const known = () => all !== null;
export const withAbility = (...abilities) => (all ?? []).filter((one) => abilities.some((ability) => one.abilities.includes(ability)));
export const ofKind = (...kinds) => (all ?? []).filter((one) => kinds.includes(one.kind));

/** Fill a list, and choose in it what was chosen last. */
export function fill(select, name, rows, texts = {}) {
  const chosen = select.value || read(`chosen.${name}`);
  select.replaceChildren(...rows.map((one) => el("option", { value: one.id, text: texts[one.id] ?? one.id })));
  if (rows.some((one) => one.id === chosen)) select.value = chosen;
  select.closest("label").hidden = rows.length === 0;
}

export function remembers(select, name) {
  select.addEventListener("change", () => keep(`chosen.${name}`, select.value));
}
