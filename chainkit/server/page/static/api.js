// Requests to the server that this page came from.

import { t } from "./i18n.js";

const KEY = "chainkit.key";
let key = "";
try { key = sessionStorage.getItem(KEY) ?? ""; } catch { /* asked for again in this tab */ }

export const hasKey = () => key !== "";

/** Use a key in this tab; an empty one forgets it. */
export function useKey(given) {
  key = given.trim();
  try {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch { /* used until the page is left */ }
}

/** What the server refused, in its words. */
export class Refused extends Error {
  constructor(status, told, retryAfter) {
    const wait = retryAfter ? ` ${t("error.retry", { seconds: retryAfter })}` : "";
    super((told?.message ?? t("error.status", { status })) + wait);
    this.status = status;
    this.code = told?.code;
  }
}

/** A reply, if it is a good one. */
export async function request(path, { method = "GET", json, body, signal } = {}) {
  const headers = {};
  if (key) headers.authorization = `Bearer ${key}`;
  if (json !== undefined) headers["content-type"] = "application/json";
  else if (body !== undefined) headers["content-type"] = "application/octet-stream";
  let reply;
  try {
    reply = await fetch(path, { method, headers, signal, body: json === undefined ? body : JSON.stringify(json), cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { message: t("error.away") });
  }
  if (reply.ok) return reply;
  if (reply.status === 401) document.dispatchEvent(new CustomEvent("key", { detail: key !== "" }));
  const told = await reply.json().catch(() => null);
  throw new Refused(reply.status, told?.error, reply.headers.get("retry-after"));
}

export const asked = async (path, options) => (await request(path, options)).json();

/** The events of a stream, parsed. */
export async function* events(path, json, signal) {
  const reply = await request(path, { method: "POST", json, signal });
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new Refused(0, { message: t("error.cut") });
      held += value;
      const parts = held.split("\n\n");
      held = parts.pop();
      for (const part of parts) {
        const data = part.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
        if (data === "[DONE]") return;
        const told = JSON.parse(data);
        if (told.error) throw new Refused(200, told.error);
        yield told;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

export const wasStopped = (error) => error.name === "AbortError";
