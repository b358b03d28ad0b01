// A chat: answers that can be stopped and tried again, messages that can be edited, all of it kept in this browser.

import { events, wasStopped } from "./api.js";
import * as chats from "./chats.js";
import { Composer } from "./composer.js";
import { alertOf, copyText, el, find, following, framed, iconButton, say } from "./dom.js";
import { t } from "./i18n.js";
import { keep, names, read } from "./kept.js";
import * as models from "./models.js";
import { show } from "./text.js";

const FOLDED = [["chat-options", "chat-settings"], ["chat-history", "chats"]];
const SETTINGS = ["system", "temperature", "length"];

let chat = chats.fresh();
let composer;

export function start() {
  composer = new Composer(find("chat-form"), (text) => { chat.messages.push({ role: "user", text }); answer(); });
  const select = find("chat-model");
  models.remembers(select, "chat");
  const refresh = () => models.fill(select, "chat", models.withAbility("chat").filter((one) => one.kind === "model" || one.kind === "chain"));
  document.addEventListener("models", refresh);
  document.addEventListener("language", () => { draw(); list(); });
  for (const name of SETTINGS) {
    const box = find(`chat-${name}`);
    box.value = read(`setting.${name}`, box.value);
    box.addEventListener("change", () => keep(`setting.${name}`, box.value));
  }
  for (const [button, box] of FOLDED) folds(button, box);
  find("chat-new").addEventListener("click", () => change(chats.fresh()));
  find("chat-forget").addEventListener("click", () => {
    names("chat.").forEach(chats.remove);
    change(chats.fresh());
  });
  const last = chats.all()[0];
  if (last) chat = last;
  refresh();
}

/** A button that opens a box and closes the other one. */
function folds(button, box) {
  find(button).addEventListener("click", () => {
    const opens = find(box).hidden;
    for (const [one, other] of FOLDED) {
      find(other).hidden = !(opens && other === box);
      find(one).setAttribute("aria-expanded", String(!find(other).hidden));
    }
    list();
  });
}

function list() {
  chats.draw(chat.id, (one) => change(chats.all().find((other) => other.id === one.id) ?? one), (one) => {
    chats.remove(one.id);
    if (one.id === chat.id) change(chats.fresh());
    else list();
  });
}

function change(other) {
  composer.running?.abort();
  chat = other;
  draw();
  list();
  composer.box.focus();
}

function draw() {
  const thread = find("messages");
  thread.replaceChildren(...chat.messages.map((message, place) => element(message, place)));
  if (!chat.messages.length) {
    thread.append(el("div", { class: "empty" }, el("h2", { text: t("chat.empty") }), el("p", { text: t("chat.lead") })));
  }
  thread.scrollTop = thread.scrollHeight;
}

const element = (message, place) => message.role === "user" ? userBox(message, place) : answerBox(message, place);

function userBox(message, place) {
  const text = el("div", { class: "bubble", text: message.text });
  const tools = el("div", { class: "tools" }, iconButton("edit", t("edit"), () => edit(message, place, box)),
    iconButton("copy", t("copy"), () => copyText(message.text, t("copied"))));
  const box = el("article", { class: "message user", "aria-label": t("chat.you") }, text, tools);
  return box;
}

function edit(message, place, box) {
  if (composer.running) return;
  const area = el("textarea", { rows: "3", "aria-label": t("edit"), value: message.text });
  const done = (event) => {
    event.preventDefault();
    if (!area.value.trim()) return;
    message.text = area.value.trim();
    chat.messages.length = place + 1; // what came after it answered another text
    answer();
    composer.box.focus();
  };
  const cancel = () => { draw(); composer.box.focus(); };
  const form = el("form", { class: "edit", on: { submit: done } }, area, el("div", { class: "row end" },
    el("button", { type: "button", class: "quiet", text: t("cancel"), on: { click: cancel } }),
    el("button", { class: "primary", text: t("send") })));
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") cancel();
    else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) done(event);
  });
  box.replaceChildren(form);
  area.focus();
}

function answerBox(message, place) {
  const version = message.versions[message.shown];
  const text = el("div", { class: "text" });
  const box = el("article", { class: "message", "aria-label": t("chat.answer") }, text);
  if (version.running && !version.text) text.append(el("p", { class: "dots", "aria-label": t("waiting") }, el("i"), el("i"), el("i")));
  else show(text, version.text);
  if (version.error) box.append(alertOf(version.error));
  if (version.finish === "stopped") box.append(el("p", { class: "fine", text: t("stopped") }));
  if (version.finish === "length") box.append(el("p", { class: "fine", text: t("chat.cut") }));
  if (!version.running) box.append(tools(message, version, place));
  return box;
}

function tools(message, version, place) {
  const many = message.versions.length;
  const turn = (step) => { message.shown = (message.shown + step + many) % many; chats.save(chat); draw(); };
  return el("div", { class: "tools" },
    iconButton("copy", t("copy"), () => copyText(version.text, t("copied"))),
    place === chat.messages.length - 1 ? iconButton("again", t("chat.again"), () => answer(true)) : null,
    many > 1 ? iconButton("back", t("chat.earlier"), () => turn(-1)) : null,
    many > 1 ? el("span", { class: "fine", text: `${message.shown + 1} / ${many}` }) : null,
    many > 1 ? iconButton("on", t("chat.later"), () => turn(1)) : null);
}

/** What is said before an answer, as the API takes it. */
function said(until) {
  const system = find("chat-system").value.trim();
  const messages = chat.messages.slice(0, until).map((one) => one.role === "user"
    ? { role: "user", content: one.text } : { role: "assistant", content: one.versions[one.shown].text });
  return system ? [{ role: "system", content: system }, ...messages] : messages;
}

async function answer(again = false) {
  if (composer.running) return;
  const version = { text: "", finish: null, running: true };
  if (again) chat.messages.at(-1).versions.push(version);
  else chat.messages.push({ role: "assistant", versions: [version], shown: 0 });
  const mine = chat;
  const message = chat.messages.at(-1);
  message.shown = message.versions.length - 1;
  const thread = find("messages");
  draw();
  thread.setAttribute("aria-busy", "true");
  const redraw = framed(() => {
    if (mine !== chat || !version.running) return;
    const follow = following(thread);
    show(thread.lastElementChild.querySelector(".text"), version.text);
    follow();
  });
  await composer.run((signal) => follow(version, said(mine.messages.length - 1), signal, redraw));
  delete version.running;
  if (!chats.save(mine)) version.error = t("chat.full");
  thread.setAttribute("aria-busy", "false");
  if (mine === chat) draw();
  list();
  if (!version.error) say(t("done"));
}

async function follow(version, messages, signal, redraw) {
  const model = find("chat-model").value;
  const chain = models.ofKind("chain").some((one) => one.id === model);
  const settings = chain ? {} : { temperature: Number(find("chat-temperature").value), max_tokens: Number(find("chat-length").value) || undefined,
    seed: Math.floor(Math.random() * 1e9) };
  try {
    for await (const chunk of events("/v1/chat/completions", { model, messages, stream: true, ...settings }, signal)) {
      const choice = chunk.choices[0];
      version.text += choice?.delta?.content ?? "";
      version.finish = choice?.finish_reason ?? version.finish;
      redraw();
    }
  } catch (error) {
    if (wasStopped(error)) version.finish = "stopped";
    else version.error = error.message;
  }
}
