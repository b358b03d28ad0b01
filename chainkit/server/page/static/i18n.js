// The words of the page, in the language of its reader.

import { keep, read } from "./kept.js";

export const LANGUAGES = { en: "English", de: "Deutsch", fr: "Français", ja: "日本語" };

let words = {};
let current = "en";

export const language = () => current;

/** The language that was chosen, else the first of the browser's that there is. */
export function preferred() {
  const chosen = read("language");
  const wanted = [chosen, ...navigator.languages].filter(Boolean).map((one) => one.slice(0, 2).toLowerCase());
  return wanted.find((one) => one in LANGUAGES) ?? "en";
}

export async function speak(name) {
  const reply = await fetch(`/page/strings/${name}.json`);
  words = await reply.json();
  current = name;
  document.documentElement.lang = name;
  translate(document);
  document.dispatchEvent(new Event("language"));
}

export async function choose(name) {
  keep("language", name);
  await speak(name);
}

/** A text, with {names} replaced. */
export function t(key, values = {}) {
  return (words[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** "1 token", "3 tokens": the key of a count is followed by its plural category. */
export function counted(key, count) {
  const category = new Intl.PluralRules(current).select(count);
  const chosen = words[`${key}.${category}`] === undefined ? `${key}.other` : `${key}.${category}`;
  return t(chosen, { count: count.toLocaleString(current) });
}

export const percent = (share) => share.toLocaleString(current, { style: "percent", maximumFractionDigits: share < 0.1 ? 1 : 0 });

export const decimal = (value) => value.toLocaleString(current, { minimumFractionDigits: 2, maximumFractionDigits: 2 });

export const bytes = (count) => {
  const unit = count >= 1 << 20 ? ["megabyte", 1 << 20] : count >= 1 << 10 ? ["kilobyte", 1 << 10] : ["byte", 1];
  return (count / unit[1]).toLocaleString(current, { style: "unit", unit: unit[0], maximumFractionDigits: 1 });
};

export function translate(root) {
  for (const one of root.querySelectorAll("[data-t]")) one.textContent = t(one.dataset.t);
  for (const one of root.querySelectorAll("[data-t-label]")) one.setAttribute("aria-label", t(one.dataset.tLabel));
  for (const one of root.querySelectorAll("[data-t-placeholder]")) one.placeholder = t(one.dataset.tPlaceholder);
}
