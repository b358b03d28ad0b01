// A program: its variables as fields, its text as it grows, with what the model writes highlighted.

import { asked, events, wasStopped } from "./api.js";
import { alertOf, el, find, following, say } from "./dom.js";
import { t } from "./i18n.js";
import * as models from "./models.js";

const KINDS = ["text", "lines", "json"];

let running = null;

export function start() {
  const select = find("program-model");
  models.remembers(select, "program");
  const refresh = () => { if (!models.known()) return; models.fill(select, "program", models.ofKind("program")); choose(); };
  for (const event of ["models", "language"]) document.addEventListener(event, refresh);
  select.addEventListener("change", choose);
  find("program-form").addEventListener("submit", (event) => { event.preventDefault(); begin(); });
  find("program-stop").addEventListener("click", () => running?.abort());
}

const chosen = () => models.ofKind("program").find((one) => one.id === find("program-model").value);

async function choose() {
  const program = chosen();
  find("program-run").hidden = !program;
  find("program-source").hidden = !program;
  const fields = find("program-fields");
  if (!program) {
    fields.replaceChildren(el("p", { class: "fine", text: t("program.none") }));
    return;
  }
  if (fields.dataset.program !== program.id) {
    fields.replaceChildren(...(program.variables ?? []).map((name) => field(name)));
    fields.dataset.program = program.id;
  }
  try {
    find("program-text").textContent = (await asked(`/v1/programs/${program.id.split("/").map(encodeURIComponent).join("/")}`)).text;
  } catch (error) {
    find("program-text").textContent = error.message;
  }
}

function field(name) {
  const kind = el("select", { class: "kind", "aria-label": t("program.kind", { name }) },
    ...KINDS.map((one) => el("option", { value: one, text: t(`program.kind.${one}`) })));
  const box = el("textarea", { rows: "2", required: true, "data-variable": name, id: `variable-${name}` });
  return el("div", { class: "field" }, el("div", { class: "row between" }, el("label", { for: `variable-${name}`, text: name }), kind), box);
}

/** A variable as the program takes it; raises where a text is no JSON. */
function valueOf(box) {
  const kind = box.closest(".field").querySelector(".kind").value;
  if (kind === "text") return box.value;
  if (kind === "lines") return box.value.split("\n").map((line) => line.trim()).filter(Boolean);
  try {
    return JSON.parse(box.value);
  } catch (error) {
    throw new Error(t("program.no_json", { name: box.dataset.variable, reason: error.message }));
  }
}

async function begin() {
  const output = new Output();
  try {
    const boxes = [...find("program-fields").querySelectorAll("[data-variable]")];
    const variables = Object.fromEntries(boxes.map((box) => [box.dataset.variable, valueOf(box)]));
    await go({ model: chosen().id, variables }, output);
  } catch (error) {
    output.fail(error.message);
  }
}

async function go(body, output) {
  if (running) return;
  running = new AbortController();
  buttons(true);
  try {
    for await (const told of events("/v1/programs/runs", body, running.signal)) output.tell(told, body.model);
    say(t("done"));
  } catch (error) {
    if (wasStopped(error)) output.note(t("stopped"));
    else output.fail(error.message);
  } finally {
    running = null;
    buttons(false);
    output.end();
  }
}

function buttons(busy) {
  find("program-run").disabled = busy;
  find("program-stop").hidden = !busy;
}

/** The text of a run as it grows. */
class Output {
  constructor() {
    this.box = find("program-output");
    this.box.replaceChildren();
    this.box.setAttribute("aria-busy", "true");
    find("program-variables").replaceChildren();
    this.part = this.fresh(this.box);
  }

  fresh(parent) {
    this.last = null;
    const part = el("div", { class: "run" });
    parent.append(part);
    return part;
  }

  tell(told, model) {
    const follow = following(this.box);
    if ("role" in told) this.role(told);
    else if ("text" in told) this.add(told);
    else if ("tool" in told) this.part.append(el("p", { class: "fine", text: `${told.tool} → ${told.result}` }));
    else if ("variables" in told) this.conclude(told, model);
    follow();
  }

  role({ role, begins }) {
    this.trim();
    if (begins) {
      const message = el("section", { class: "role" }, el("h3", { text: role }));
      this.box.append(message);
      this.part = this.fresh(message);
    } else this.part = this.fresh(this.box);
  }

  add({ text, source, name }) {
    if (this.last?.source !== source || this.last?.name !== name) {
      this.last = { source, name, span: el("span", { class: `from-${source}`, title: source === "template" ? null : name || null }) };
      this.part.append(this.last.span);
    }
    this.last.span.append(text);
  }

  conclude({ variables, usage, waiting, run, incomplete }, model) {
    if (waiting) this.wait(waiting, run, model);
    const given = new Set([...find("program-fields").querySelectorAll("[data-variable]")].map((box) => box.dataset.variable));
    const rows = Object.entries(variables).filter(([name]) => !given.has(name));
    find("program-variables").replaceChildren(...rows.flatMap(([name, value]) => [el("dt", { text: name }),
      el("dd", { text: typeof value === "string" ? value : JSON.stringify(value, null, 1) })]));
    for (const [name, limit] of Object.entries(incomplete)) this.note(t("program.incomplete", { name, limit }));
    this.note(t("program.usage", { sampled: usage.sampled, forced: usage.forced, read: usage.read + usage.cached, seconds: usage.seconds.toFixed(1) }));
  }

  wait(name, run, model) {
    const box = el("textarea", { rows: "2", required: true, id: "program-await" });
    const form = el("form", { class: "await stack" }, el("label", { for: "program-await", text: t("program.waits", { name }) }), box,
      el("div", { class: "row end" }, el("button", { class: "primary", text: t("program.on") })));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      form.remove();
      this.box.querySelectorAll(".usage").forEach((one) => one.remove());
      go({ model, run, variables: { [name]: box.value } }, this);
    });
    this.box.append(form);
    box.focus();
  }

  note(text) {
    this.box.append(el("p", { class: "fine usage", text }));
  }

  fail(text) {
    this.box.append(alertOf(text));
    this.end();
  }

  trim() {
    if (!this.part.textContent.trim()) this.part.remove();
  }

  end() {
    this.trim();
    this.box.setAttribute("aria-busy", "false");
  }
}
