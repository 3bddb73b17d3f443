/** Captions alone and large, for a projector or a second screen. */

import { byId } from "./elements.js";
import { remember, remembered } from "./preferences.js";

const STEP = 1.15;
const [SMALLEST, LARGEST] = [0.4, 2.5];

export class LargeView {
  #root = document.documentElement;
  #button = byId("large", HTMLButtonElement);
  #zoom = Number(remembered("zoom")) || 1;

  /** @param {() => void} turned called when it was turned on or off */
  constructor(turned) {
    this.turned = turned;
    this.#button.onclick = () => this.toggle();
    byId("leave", HTMLButtonElement).onclick = () => this.leave();
    byId("smaller", HTMLButtonElement).onclick = () => this.scale(-1);
    byId("larger", HTMLButtonElement).onclick = () => this.scale(1);
    document.addEventListener("fullscreenchange", () => {
      if (!document.fullscreenElement) this.leave();
    });
    this.scale(0);
  }

  get on() {
    return this.#root.dataset.view === "large";
  }

  toggle() {
    if (this.on) this.leave();
    else this.#enter();
  }

  leave() {
    if (!this.on) return;
    delete this.#root.dataset.view;
    this.#button.setAttribute("aria-pressed", "false");
    if (document.fullscreenElement) void document.exitFullscreen();
    this.#button.focus();
    this.turned();
  }

  /** @param {-1 | 0 | 1} steps */
  scale(steps) {
    this.#zoom = Math.min(LARGEST, Math.max(SMALLEST, this.#zoom * STEP ** steps));
    this.#root.style.setProperty("--zoom", this.#zoom.toFixed(2));
    remember("zoom", this.#zoom.toFixed(2));
  }

  #enter() {
    this.#root.dataset.view = "large";
    this.#button.setAttribute("aria-pressed", "true");
    byId("captions", HTMLElement).focus();
    // Where the browser does not allow it, the view fills the window.
    this.#root.requestFullscreen?.().catch(() => undefined);
    this.turned();
  }
}
