// Cosines of sentences as a picture, drawn while they come, and put in order at the end.

import { el } from "./dom.js";
import { decimal, t } from "./i18n.js";

// From unlike to alike: on light YlGnBu of ColorBrewer (Cynthia Brewer), on dark the same hues from dark to bright.
const LIGHT = ["ffffd9", "edf8b1", "c7e9b4", "7fcdbb", "41b6c4", "1d91c0", "225ea8", "253494", "081d58"];
const DARK = ["1d2026", "1f2c47", "213f6e", "22609a", "2184b0", "34a8b8", "6fc9b4", "b9e5ae", "f6f9c8"];
const SECONDS = 0.7;
const MOVED = 160; // more rows are put in order at once

export class Heatmap {
  constructor(box, texts) {
    this.texts = texts;
    this.count = texts.length;
    this.known = 0;
    this.cosines = new Uint8Array((this.count * (this.count + 1)) / 2);
    this.places = Float32Array.from(texts, (_, row) => row);
    this.blocks = [];
    this.focus = null;
    this.canvas = el("canvas", { tabindex: "0", role: "img", "aria-describedby": "heatmap-cell" });
    this.told = el("p", { id: "heatmap-cell", class: "fine cell", "aria-live": "polite" });
    this.ends = [el("span"), el("span")];
    this.scale = el("canvas", { width: "200", height: "10", "aria-hidden": "true" });
    box.replaceChildren(this.canvas, this.told, el("p", { class: "scale fine" }, this.ends[0], this.scale, this.ends[1]));
    this.box = box;
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(box);
    this.label();
  }

  label() {
    this.canvas.setAttribute("aria-label", t("cluster.picture", { count: this.count }));
    this.told.textContent = t("cluster.point");
  }

  /** More rows: the cosines of each with all rows up to itself. */
  add(first, encoded) {
    const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
    this.cosines.set(bytes, (first * (first + 1)) / 2);
    const read = (first * (first + 1)) / 2 + bytes.length;
    while (((this.known + 1) * (this.known + 2)) / 2 <= read) this.known += 1;
    this.draw();
  }

  cosine(row, column) {
    const [low, high] = row < column ? [row, column] : [column, row];
    return this.cosines[(high * (high + 1)) / 2 + low] / 127.5 - 1;
  }

  /** Bring the rows into their order, with a frame around each group. */
  arrange(order, groups) {
    const goal = new Float32Array(this.count);
    order.forEach((row, place) => { goal[row] = place; });
    const begun = Float32Array.from(this.places);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches || this.count > MOVED;
    const from = performance.now();
    const step = (now) => {
      const share = still ? 1 : Math.min(1, (now - from) / 1000 / SECONDS);
      const eased = 1 - (1 - share) ** 3;
      for (let row = 0; row < this.count; row++) this.places[row] = begun[row] + (goal[row] - begun[row]) * eased;
      if (share === 1) {
        this.order = order;
        this.blocks = groups.filter((group) => group.members.length > 1).map(({ members, colour }) => {
          const places = members.map((row) => goal[row]);
          return { first: Math.min(...places), end: Math.max(...places) + 1, colour };
        });
      } else requestAnimationFrame(step);
      this.draw();
    };
    step(from);
  }

  spread() {
    const some = [];
    const skip = Math.max(1, Math.floor(this.known / 60));
    for (let row = skip; row < this.known; row += skip) for (let column = 0; column < row; column += skip) some.push(this.cosine(row, column));
    some.sort((one, other) => one - other);
    const low = some[Math.floor(some.length * 0.05)] ?? 0;
    return [low, Math.max(some[Math.floor(some.length * 0.97)] ?? 1, low + 0.05)];
  }

  draw() {
    const width = Math.min(this.box.clientWidth, 480);
    if (!width) return;
    const cell = width / this.count;
    const sharp = devicePixelRatio || 1;
    this.canvas.width = this.canvas.height = Math.round(width * sharp);
    this.canvas.style.width = this.canvas.style.height = `${width}px`;
    const context = this.canvas.getContext("2d");
    context.scale(sharp, sharp);
    const [low, high] = this.spread();
    const ramp = shades();
    for (let row = 0; row < this.known; row++) {
      for (let column = 0; column < this.known; column++) {
        const share = Math.min(1, Math.max(0, (this.cosine(row, column) - low) / (high - low)));
        context.fillStyle = ramp[Math.round(share * 255)];
        context.fillRect(this.places[column] * cell, this.places[row] * cell, cell + 0.5, cell + 0.5);
      }
    }
    this.frames(context, cell);
    this.legend(ramp, low, high);
  }

  frames(context, cell) {
    context.lineWidth = 2.5;
    for (const { first, end, colour } of this.blocks) {
      context.strokeStyle = colour;
      context.strokeRect(first * cell + 1.25, first * cell + 1.25, (end - first) * cell - 2.5, (end - first) * cell - 2.5);
    }
    if (!this.focus) return;
    const [row, column] = this.focus;
    for (const [width, colour] of [[4, "#000"], [2, "#fff"]]) { // seen on every shade
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.strokeRect(column * cell, row * cell, cell, cell);
    }
  }

  legend(ramp, low, high) {
    const context = this.scale.getContext("2d");
    for (let x = 0; x < 200; x++) {
      context.fillStyle = ramp[Math.round((x / 199) * 255)];
      context.fillRect(x, 0, 1, 10);
    }
    this.ends[0].textContent = `≤ ${decimal(low)}`;
    this.ends[1].textContent = `≥ ${decimal(high)}`;
  }

  point(event) {
    const cell = this.canvas.clientWidth / this.count;
    this.show(Math.floor(event.offsetY / cell), Math.floor(event.offsetX / cell));
  }

  key(event) {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const [row, column] = this.focus ?? [0, -1];
    const inside = (place) => Math.min(this.known - 1, Math.max(0, place));
    this.show(inside(row + step[0]), inside(column + step[1]));
  }

  show(row, column) {
    if (row < 0 || column < 0 || row >= this.known || column >= this.known) return;
    if (this.focus?.[0] === row && this.focus?.[1] === column) return;
    this.focus = [row, column];
    const one = this.order?.[row] ?? row;
    const other = this.order?.[column] ?? column;
    this.told.textContent = `${decimal(this.cosine(one, other))} · ${this.texts[one]} × ${this.texts[other]}`;
    this.draw();
  }
}

function shades() {
  const dark = getComputedStyle(document.documentElement).getPropertyValue("--dark").trim() === "1";
  const stops = (dark ? DARK : LIGHT).map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  return Array.from({ length: 256 }, (_, level) => {
    const place = (level / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(place), stops.length - 2);
    const mixed = stops[low].map((value, i) => Math.round(value + (stops[low + 1][i] - value) * (place - low)));
    return `rgb(${mixed.join()})`;
  });
}
