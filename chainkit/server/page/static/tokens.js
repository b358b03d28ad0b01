// The tokens of a text as it is typed, and what the model holds likely to come next.

import { asked, wasStopped } from "./api.js";
import { alertOf, el, find } from "./dom.js";
import { counted, percent, t } from "./i18n.js";
import * as models from "./models.js";

const PAUSE = 250;
const NEXT = 10;
const BROKEN = "\ufffd";
const MOST = 2000; // tokens that are shown

let timer = null;
let running = null;

export function start() {
  const select = find("tokens-model");
  models.remembers(select, "tokens");
  document.addEventListener("models", () => models.fill(select, "tokens", models.withAbility("chat", "text").filter((one) => one.kind === "model")));
  document.addEventListener("language", look);
  select.addEventListener("change", look);
  find("tokens-text").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(look, PAUSE); });
}

async function look() {
  clearTimeout(timer);
  running?.abort();
  const input = find("tokens-text").value;
  find("tokens-empty").hidden = input !== "";
  if (!input) {
    for (const id of ["tokens-list", "tokens-next"]) find(id).replaceChildren();
    find("tokens-count").textContent = "";
    return;
  }
  const mine = (running = new AbortController());
  try {
    const told = await asked("/v1/tokens", { method: "POST", json: { model: find("tokens-model").value, input, next: NEXT }, signal: mine.signal });
    draw(told, input);
  } catch (error) {
    if (!wasStopped(error)) find("tokens-list").replaceChildren(el("li", {}, alertOf(error.message)));
  }
}

const hex = (bytes) => bytes.map((one) => one.toString(16).padStart(2, "0")).join(" ");

/** A token so that its spaces and line ends are seen; of a part of a character, its bytes. */
function seen(text, bytes) {
  if (bytes?.length && text.includes(BROKEN)) return [el("i", { class: "hex", text: hex(bytes) })];
  const parts = text.split(/( +|\n|\t)/).filter(Boolean);
  return parts.map((part) => /^[ \n\t]/.test(part)
    ? el("i", { text: part.replaceAll(" ", "·").replaceAll("\n", "⏎").replaceAll("\t", "⇥") }) : part);
}

function draw({ tokens, next }, input) {
  find("tokens-count").textContent = [counted("tokens", tokens.length), counted("characters", [...input].length)].join(" · ");
  find("tokens-list").replaceChildren(...tokens.slice(0, MOST).map(({ id, text, bytes }, place) => el("li", { class: `tone${place % 5}`,
    title: `${id} · ${hex(bytes)}` }, el("span", { class: "piece" }, ...seen(text, bytes)), el("small", { text: String(id) }))));
  const most = next[0]?.chance || 1;
  find("tokens-next").replaceChildren(...next.map(({ text, chance }) => {
    const bar = el("span", { class: "bar", "aria-hidden": "true" });
    bar.style.width = `${(100 * chance) / most}%`;
    return el("li", {}, el("button", { type: "button", disabled: text.includes(BROKEN), on: { click: () => take(text) } },
      bar, el("span", { class: "piece" }, ...seen(text)), el("span", { class: "fine", text: percent(chance) })));
  }));
}

async function take(text) {
  find("tokens-text").value += text;
  await look();
  find("tokens-next").querySelector("button")?.focus();
}
