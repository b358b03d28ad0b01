// What a model wrote, as elements: paragraphs, lists, headings, code. Never as HTML, and no link can be followed.

import { copyText, el, iconButton } from "./dom.js";
import { t } from "./i18n.js";

const FENCE = /^\s{0,3}(```|~~~)\s*([\w+#.-]*)/;
const ITEM = /^\s{0,3}(?:([-*+])|(\d{1,3})[.)])\s+(.*)/;
const HEADING = /^\s{0,3}#{1,6}\s+(.*)/;
const INLINE = /(`+)(.+?)\1|\*\*(?=\S)(.+?)\*\*|\*(?=[^\s*])([^*\n]+?)\*|\[(\d{1,4})\]/g;

/** The blocks of a text: their source, and what they are. */
export function blocks(text) {
  const found = [];
  let code = null;
  for (const line of text.split("\n")) {
    const fence = line.match(FENCE);
    if (code) {
      if (fence && fence[1] === code.fence && !fence[2]) code = null;
      else code.lines.push(line);
      continue;
    }
    const last = found.at(-1);
    const item = line.match(ITEM);
    const heading = line.match(HEADING);
    if (fence) found.push((code = { kind: "code", fence: fence[1], language: fence[2], lines: [] }));
    else if (heading) found.push({ kind: "heading", lines: [heading[1]] });
    else if (item) {
      const kind = item[1] ? "ul" : "ol";
      if (last?.kind === kind && !last.ended) last.lines.push(item[3]);
      else found.push({ kind, lines: [item[3]], start: item[2] });
    } else if (!line.trim()) { if (last && last.kind === "p") last.ended = true; }
    else if (last?.kind === "p" && !last.ended) last.lines.push(line);
    else if ((last?.kind === "ul" || last?.kind === "ol") && /^\s{2,}/.test(line)) last.lines[last.lines.length - 1] += ` ${line.trim()}`;
    else found.push({ kind: "p", lines: [line] });
  }
  return found;
}

/** Show a text; blocks that have not changed stay, so that a selection in them stays too. */
export function show(box, text, cite = null) {
  const found = blocks(text);
  found.forEach((block, place) => {
    const mark = JSON.stringify([block.kind, block.lines, block.start, cite?.mark]);
    const old = box.children[place];
    if (old?.blockMark === mark) return;
    const made = element(block, cite);
    made.blockMark = mark;
    if (old) old.replaceWith(made);
    else box.append(made);
  });
  while (box.children.length > found.length) box.lastChild.remove();
}

function element(block, cite) {
  const { kind, lines } = block;
  if (kind === "code") return codeBox(block);
  if (kind === "heading") return el("p", { class: "heading" }, ...inline(lines[0], cite));
  if (kind === "p") return el("p", {}, ...inline(lines.join("\n"), cite));
  return el(kind, kind === "ol" && block.start ? { start: block.start } : {}, ...lines.map((line) => el("li", {}, ...inline(line, cite))));
}

function codeBox({ language, lines }) {
  const text = lines.join("\n");
  const copy = iconButton("copy", t("copy"), () => copyText(text, t("copied")));
  return el("figure", { class: "code" }, el("figcaption", {}, el("span", { text: language }), copy),
    el("pre", { tabindex: "0" }, el("code", { text })));
}

function inline(text, cite) {
  const parts = [];
  let done = 0;
  for (const match of text.matchAll(INLINE)) {
    const [whole, , code, strong, weak, number] = match;
    if (number !== undefined && !cite) continue;
    parts.push(text.slice(done, match.index));
    done = match.index + whole.length;
    if (code !== undefined) parts.push(el("code", { text: code }));
    else if (strong !== undefined) parts.push(el("strong", {}, ...inline(strong, cite)));
    else if (weak !== undefined) parts.push(el("em", { text: weak }));
    else parts.push(cite(Number(number)));
  }
  parts.push(text.slice(done));
  return parts;
}
