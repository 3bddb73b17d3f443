/** Single keys for what is done often. They can be turned off, and never act while something is typed or chosen. */

import { byId, element } from "./elements.js";
import { remember, remembered } from "./preferences.js";

/** @typedef {{key: string, shown?: string, what: string, run: () => void}} Shortcut */

export class Keyboard {
  #dialog = byId("keys-dialog", HTMLDialogElement);
  #allowed = byId("single-keys", HTMLInputElement);

  /** @param {Shortcut[]} shortcuts @param {() => void} escape what Escape leaves */
  constructor(shortcuts, escape) {
    this.shortcuts = [...shortcuts, { key: "?", what: "Show these keys", run: () => this.#dialog.showModal() }];
    this.escape = escape;
    this.#allowed.checked = remembered("keys") !== "off";
    this.#allowed.onchange = () => remember("keys", this.#allowed.checked ? "on" : "off");
    byId("keys", HTMLButtonElement).onclick = () => this.#dialog.showModal();
    document.addEventListener("keydown", (event) => this.#pressed(event));
    this.#list();
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") {
      this.escape();
      return;
    }
    if (!this.#allowed.checked || event.repeat || takesKeys(event.target)) return;
    const shortcut = this.shortcuts.find(({ key }) => key === event.key.toLowerCase());
    if (!shortcut) return;
    event.preventDefault();
    shortcut.run();
  }

  #list() {
    const rows = [
      ...this.shortcuts.map(({ key, shown, what }) => [[shown ?? key.toUpperCase()], what]),
      [["←", "→", "↑", "↓"], "From word to word, once Tab has reached the captions"],
      [["Esc"], "Leave the large view; put the card of a word away"],
    ];
    const entries = /** @type {[string[], string][]} */ (rows).flatMap(([keys, what]) => [
      element("dt", {}, keys.map((key) => element("kbd", {}, [key]))),
      element("dd", {}, [what]),
    ]);
    byId("shortcuts", HTMLElement).replaceChildren(...entries);
  }
}

/** @param {EventTarget | null} target */
function takesKeys(target) {
  return target instanceof Element && target.matches("input, select, textarea");
}
