// Sentences in groups, with the picture of their similarities drawn while they are read.

import { events, wasStopped } from "./api.js";
import { alertOf, el, find, say } from "./dom.js";
import { counted, t } from "./i18n.js";
import { Heatmap } from "./heatmap.js";
import * as models from "./models.js";

// English, as the usual embedding model is.
const EXAMPLE = `How do I reset my password?
I cannot log in to my account.
The sign-in page says my password is wrong.
When will my parcel arrive?
My order has not been delivered yet.
Can I change the delivery address?
The soup was cold and the waiter was rude.
We loved the food and the friendly staff.
The best restaurant in town.`;

let running = null;
let heatmap = null;

export function start() {
  const select = find("cluster-model");
  models.remembers(select, "cluster");
  document.addEventListener("models", () => {
    models.fill(select, "cluster", models.withAbility("embeddings"));
    find("cluster-run").disabled = !select.value;
    if (!select.value) find("heatmap").replaceChildren(el("p", { class: "fine", text: t("cluster.none") }));
  });
  document.addEventListener("language", () => heatmap?.label());
  document.addEventListener("theme", () => heatmap?.draw());
  find("cluster-form").addEventListener("submit", (event) => { event.preventDefault(); sort(); });
  find("cluster-stop").addEventListener("click", () => running?.abort());
  find("cluster-example").addEventListener("click", () => { find("sentences").value = EXAMPLE; sort(); });
}

async function sort() {
  if (running) return;
  const input = find("sentences").value.split("\n").map((line) => line.trim()).filter(Boolean);
  const box = find("heatmap");
  find("groups").replaceChildren();
  if (input.length < 2) {
    box.replaceChildren(alertOf(t("cluster.few")));
    return;
  }
  running = new AbortController();
  buttons(true);
  heatmap?.resized.disconnect();
  heatmap = new Heatmap(box, input);
  const k = Number(find("cluster-k").value) || undefined;
  try {
    for await (const told of events("/v1/clusters", { model: find("cluster-model").value, input, k }, running.signal)) {
      if ("cosines" in told) heatmap.add(told.first, told.cosines);
      else conclude(told, input);
    }
  } catch (error) {
    if (wasStopped(error)) say(t("stopped"));
    else find("groups").append(alertOf(error.message));
  } finally {
    running = null;
    buttons(false);
  }
}

function buttons(busy) {
  find("cluster-run").disabled = find("cluster-example").disabled = busy;
  find("cluster-stop").hidden = !busy;
}

function conclude({ order, groups }, input) {
  heatmap.arrange(order, groups);
  const told = counted("groups", groups.length);
  const first = ({ members }) => Math.min(...members.map((row) => order.indexOf(row)));
  groups.sort((one, other) => first(one) - first(other)); // as in the picture
  find("groups").replaceChildren(el("h3", { text: told }), ...groups.map(({ name, colour, members }) => {
    const dot = el("span", { class: "dot", "aria-hidden": "true" });
    dot.style.background = colour;
    return el("details", { open: groups.length <= 12 }, el("summary", {}, dot, el("strong", { text: name }), el("span", { class: "fine", text: String(members.length) })),
      el("ul", {}, ...members.map((row) => el("li", { text: input[row] }))));
  }));
  say(told);
}
