// A document, opened at the passage that an answer cites.

import { asked } from "./api.js";
import { alertOf, el, find } from "./dom.js";
import { t } from "./i18n.js";

const STEP = 40; // passages that the server sends at once

/** Where a citation stands, for people. */
export function place({ page, first_line: first, last_line: last, headings = [] }) {
  const where = page ? t("place.page", { page }) : !first ? "" : last && last !== first
    ? t("place.lines", { first, last }) : t("place.line", { first });
  return [headings.at(-1), where].filter(Boolean).join(" · ");
}

/** Open the document of a citation. */
export async function open(model, citation) {
  const box = find("viewer-text");
  find("viewer-title").textContent = citation.title;
  find("viewer-place").textContent = place(citation);
  box.replaceChildren(el("p", { class: "dots", "aria-label": t("waiting") }, el("i"), el("i"), el("i")));
  find("viewer").showModal();
  const { path, quote, page, first_line } = citation;
  try {
    const found = await passages({ model, path, quote, page, first_line });
    box.replaceChildren(...pages(found, { model, path, quote }));
    box.querySelector("mark")?.scrollIntoView({ block: "center" });
  } catch (error) {
    box.replaceChildren(el("blockquote", { text: quote }), alertOf(error.message));
  }
  box.focus();
}

const passages = (json) => asked("/v1/documents/passages", { method: "POST", json });

/** The passages, with buttons that bring those before and after. */
function pages(found, { model, path, quote }) {
  let first = found.start;
  let end = found.start + found.passages.length;
  const list = el("div", {}, ...rows(found.passages, quote));
  const earlier = more("viewer.before", async () => {
    const next = await passages({ model, path, start: Math.max(0, first - STEP) });
    list.prepend(...rows(next.passages.slice(0, first - next.start), ""));
    first = next.start;
  });
  const later = more("viewer.after", async () => {
    const next = await passages({ model, path, start: end });
    list.append(...rows(next.passages, ""));
    end += next.passages.length;
  });
  return [earlier, list, later];

  function more(key, load) {
    const button = el("button", { type: "button", class: "quiet", text: t(key), on: { click: async () => {
      try { await load(); } catch (error) { button.replaceWith(alertOf(error.message)); }
      mind();
      find("viewer-text").focus();
    } } });
    queueMicrotask(mind);
    return button;
  }

  function mind() {
    earlier.hidden = first === 0;
    later.hidden = end >= found.total;
  }
}

function rows(some, quote) {
  let heading = null;
  return some.flatMap((one) => {
    const above = one.headings.join(" \u203a ");
    const title = above && above !== heading ? [el("h3", { text: above })] : [];
    heading = above;
    return [...title, el("p", { class: one.cited ? "cited" : null },
      el("span", { class: "fine where", text: place({ ...one, headings: [] }) }),
      ...(one.cited ? marked(one.text, quote) : [one.text]))];
  });
}

function marked(text, quote) {
  const at = quote ? text.indexOf(quote) : -1;
  if (at < 0) return [el("mark", { text })];
  return [text.slice(0, at), el("mark", { text: quote }), text.slice(at + quote.length)];
}
