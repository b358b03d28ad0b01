// Language, appearance and the key, in a dialog.

import { hasKey, useKey } from "./api.js";
import { el, find } from "./dom.js";
import { choose, LANGUAGES, language, t } from "./i18n.js";
import { forget, keep, read } from "./kept.js";
import { load } from "./models.js";

export function start(reload) {
  const dialog = find("settings");
  find("open-settings").addEventListener("click", () => dialog.showModal());
  const languages = find("language");
  languages.append(...Object.entries(LANGUAGES).map(([name, text]) => el("option", { value: name, text, lang: name })));
  languages.value = language();
  languages.addEventListener("change", () => choose(languages.value));
  const theme = find("theme");
  theme.value = read("theme", "auto");
  theme.addEventListener("change", () => dress(theme.value));
  find("key-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    useKey(find("key").value);
    find("key").value = "";
    find("key-wrong").hidden = true;
    try {
      await load();
      dialog.close();
    } catch { /* a wrong key opens this dialog again */ }
    reload();
  });
  find("key-forget").addEventListener("click", () => { useKey(""); reload(); });
  document.addEventListener("key", ({ detail: wrong }) => {
    find("key-wrong").hidden = false;
    find("key-wrong").textContent = t(wrong && hasKey() ? "settings.wrong" : "settings.needed");
    if (!dialog.open) dialog.showModal();
    find("key").focus();
  });
}

function dress(theme) {
  if (theme === "auto") {
    forget("theme");
    delete document.documentElement.dataset.theme;
  } else {
    keep("theme", theme);
    document.documentElement.dataset.theme = theme;
  }
  document.dispatchEvent(new Event("theme"));
}
