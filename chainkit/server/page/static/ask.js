// Questions to documents: the answer as it is written, then the passages that it rests on.

import { events, wasStopped } from "./api.js";
import { Composer } from "./composer.js";
import { alertOf, el, find, following, framed, say } from "./dom.js";
import { percent, t } from "./i18n.js";
import { keep } from "./kept.js";
import * as models from "./models.js";
import * as own from "./own.js";
import { show } from "./text.js";
import { open, place } from "./viewer.js";

const OWN = "own";
const TURNS = 4;

export function start() {
  const select = find("ask-model");
  const thread = find("answers");
  const empty = thread.firstElementChild;
  const composer = new Composer(find("ask-form"), ask);
  let turns = [];

  const refresh = () => {
    if (!models.known()) return;
    const rows = [...models.ofKind("documents"), { id: OWN }];
    models.fill(select, "documents", rows, { [OWN]: t("own.mine") });
    find("own").hidden = select.value !== OWN;
  };
  for (const event of ["models", "language"]) document.addEventListener(event, refresh);
  select.addEventListener("change", () => { keep("chosen.documents", select.value); clear(); refresh(); });
  find("ask-clear").addEventListener("click", () => { clear(); composer.box.focus(); });
  own.start();

  function clear() {
    turns = [];
    thread.replaceChildren(empty);
    find("ask-clear").hidden = true;
  }

  async function ask(question) {
    empty.remove();
    find("ask-clear").hidden = false;
    const made = new Shown(question);
    thread.append(made.box);
    made.box.scrollIntoView({ block: "start" });
    thread.setAttribute("aria-busy", "true");
    await composer.run(async (signal) => {
      try {
        const model = select.value === OWN ? own.required() : select.value;
        await made.follow(model, [...turns.slice(-TURNS).flat(), { role: "user", content: question }], signal, thread);
        turns.push([{ role: "user", content: question }, { role: "assistant", content: made.text }]);
        say(t("done"));
      } catch (error) {
        if (wasStopped(error)) made.stopped();
        else made.failed(error);
      }
    });
    thread.setAttribute("aria-busy", "false");
  }
}

/** A question with its answer. */
class Shown {
  constructor(question) {
    this.text = "";
    this.answer = el("div", { class: "text" }, el("p", { class: "dots", "aria-label": t("waiting") }, el("i"), el("i"), el("i")));
    this.below = el("div", { class: "below" });
    this.box = el("article", { class: "turn" }, el("h2", { text: question }), this.answer, this.below);
  }

  async follow(model, messages, signal, thread) {
    const draw = framed(() => {
      const follow = following(thread);
      this.draw();
      follow();
    });
    for await (const chunk of events("/v1/chat/completions", { model, messages, stream: true }, signal)) {
      const delta = chunk.choices[0]?.delta ?? {};
      if (delta.content) { this.text += delta.content; draw(); }
      if (delta.annotations || delta.documents) this.end = { model, ...delta };
    }
    const follow = following(thread);
    this.draw();
    this.conclude();
    follow();
  }

  draw() {
    const cited = new Map((this.end?.annotations ?? []).map((one) => [one.url_citation.number, one.url_citation]));
    const cite = (number) => {
      const citation = cited.get(number);
      const label = citation ? `${t("ask.source", { number })}: ${citation.title}` : t("ask.source", { number });
      return el("button", { type: "button", class: "cite", text: String(number), "aria-label": label, disabled: !citation,
        on: { click: () => open(this.end.model, citation) } });
    };
    cite.mark = cited.size;
    show(this.answer, this.text, cite);
  }

  conclude() {
    const { annotations = [], documents } = this.end ?? {};
    const cited = [...new Map(annotations.map((one) => [one.url_citation.number, one.url_citation])).values()];
    if (documents) this.below.append(this.verdict(documents));
    if (documents?.notice) this.below.append(el("p", { class: "fine", text: documents.notice }));
    if (cited.length) {
      this.below.append(el("h3", { text: t("ask.sources") }),
        el("ol", { class: "sources" }, ...cited.sort((one, other) => one.number - other.number).map((one) => this.source(one))));
    }
  }

  verdict({ outcome, confidence }) {
    return el("p", { class: `verdict ${outcome}` }, el("span", { class: "badge", text: t(`ask.outcome.${outcome}`) }),
      outcome === "refusal" ? null : el("span", { class: "fine", text: t("ask.confidence", { share: percent(confidence) }) }));
  }

  source(citation) {
    return el("li", {}, el("button", { type: "button", class: "source", on: { click: () => open(this.end.model, citation) } },
      el("span", { class: "number", "aria-hidden": "true", text: String(citation.number) }),
      el("span", { class: "about" }, el("strong", { text: citation.title }), el("span", { class: "fine", text: place(citation) }),
        el("q", { text: citation.quote }))));
  }

  stopped() {
    this.draw();
    this.below.append(el("p", { class: "fine", text: t("stopped") }));
  }

  failed(error) {
    this.draw();
    this.below.append(alertOf(error.message));
  }
}
