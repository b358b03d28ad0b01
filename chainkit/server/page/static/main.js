// The page: its parts, which of them is seen, and what the server has.

import * as ask from "./ask.js";
import * as chat from "./chat.js";
import * as cluster from "./cluster.js";
import { alertOf, el, find } from "./dom.js";
import { preferred, speak, t } from "./i18n.js";
import { load, ofKind } from "./models.js";
import * as program from "./program.js";
import * as settings from "./settings.js";
import * as tokens from "./tokens.js";

const VIEWS = ["ask", "chat", "program", "cluster", "tokens"];

function show() {
  const asked = location.hash.slice(1);
  const view = VIEWS.includes(asked) ? asked : ofKind("documents").length ? "ask" : "chat";
  for (const name of VIEWS) find(`view-${name}`).hidden = name !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${t(`nav.${view}`)} · chainkit`;
}

async function reload() {
  const trouble = find("trouble");
  trouble.replaceChildren();
  try {
    await load();
  } catch (error) {
    if (error.status === 401) return;
    trouble.append(el("div", { class: "row" }, alertOf(error.message),
      el("button", { type: "button", class: "quiet", text: t("retry"), on: { click: reload } })));
  }
  show();
}

await speak(preferred());
for (const part of [ask, chat, program, cluster, tokens]) part.start();
settings.start(reload);
addEventListener("hashchange", show);
document.addEventListener("language", show);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("theme")));
document.dispatchEvent(new Event("language"));
await reload();
document.documentElement.dataset.ready = "";
