// A box to write in: Enter sends, Shift and Enter begin a line, and a button stops what is being written.

export class Composer {
  constructor(form, send) {
    this.form = form;
    this.box = form.querySelector("textarea");
    [this.sendButton, this.stopButton] = form.querySelectorAll("button");
    this.running = null;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.box.value.trim();
      if (!text || this.running) return;
      this.box.value = "";
      this.grow();
      send(text);
    });
    this.box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      form.requestSubmit();
    });
    this.box.addEventListener("input", () => this.grow());
    this.stopButton.addEventListener("click", () => this.running?.abort());
  }

  /** Run some work that can be stopped. */
  async run(work) {
    const running = (this.running = new AbortController());
    const focused = document.activeElement === this.sendButton;
    this.sendButton.hidden = true;
    this.stopButton.hidden = false;
    if (focused) this.stopButton.focus();
    try {
      await work(running.signal);
    } finally {
      const stopped = document.activeElement === this.stopButton;
      this.running = null;
      this.sendButton.hidden = false;
      this.stopButton.hidden = true;
      if (stopped) this.box.focus();
    }
  }

  grow() {
    this.box.style.height = "auto";
    this.box.style.height = `${Math.min(this.box.scrollHeight, 220)}px`;
  }
}
