// Chats as this browser keeps them, and the list of them.

import { el, find, iconButton } from "./dom.js";
import { language, t } from "./i18n.js";
import { forget, keep, names, read } from "./kept.js";

const MOST = 200;

export function fresh() {
  return { id: crypto.randomUUID?.() ?? String(Date.now()), title: "", updated: Date.now(), messages: [] };
}

export function all() {
  return names("chat.").map((id) => read(`chat.${id}`)).filter(Boolean).sort((one, other) => other.updated - one.updated);
}

/** Keep a chat; the oldest make room for it. */
export function save(chat) {
  chat.updated = Date.now();
  chat.title = chat.messages[0]?.text.slice(0, 80) ?? "";
  const others = all().filter((one) => one.id !== chat.id);
  for (const old of others.splice(MOST - 1)) forget(`chat.${old.id}`);
  while (!keep(`chat.${chat.id}`, chat)) {
    const oldest = others.pop();
    if (!oldest) return false;
    forget(`chat.${oldest.id}`);
  }
  return true;
}

export const remove = (id) => forget(`chat.${id}`);

/** The list of chats; `open` is called with the one that is chosen. */
export function draw(current, open, removed) {
  const rows = all().map((chat) => el("li", {},
    el("button", { type: "button", class: "name link", "aria-current": chat.id === current ? "true" : null,
      text: chat.title || t("chat.untitled"), on: { click: () => open(chat) } }),
    el("span", { class: "fine", text: new Date(chat.updated).toLocaleString(language(), { dateStyle: "short", timeStyle: "short" }) }),
    iconButton("bin", t("chat.delete", { name: chat.title }), () => removed(chat))));
  find("chat-list").replaceChildren(...rows);
  find("chat-forget").hidden = rows.length === 0;
  if (!rows.length) find("chat-list").append(el("li", { class: "fine", text: t("chat.none") }));
}
