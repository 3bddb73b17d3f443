/** Which languages captions are translated into: a list of boxes that opens from a button, remembered in this browser. */

import { byId, element } from "./elements.js";
import { remember, remembered } from "./preferences.js";

const NAMES = new Intl.DisplayNames(["en"], { type: "language" });

/** The English name of a language. @param {string} code BCP 47 */
export function languageName(code) {
  return NAMES.of(code) ?? code;
}

/** The choice; hidden where the server translates nothing. */
export class Targets {
  #place = byId("translate-choice", HTMLElement);
  #menu = byId("translate", HTMLDetailsElement);
  #summary = byId("translate-summary", HTMLElement);
  #shown = byId("translate-chosen", HTMLElement);
  #options = byId("translate-options", HTMLElement);

  constructor() {
    this.#options.onchange = () => {
      remember("translate", this.chosen.join(","));
      this.#tell();
    };
    this.#menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.#menu.open) return;
      event.preventDefault(); // it leaves this list and nothing else
      this.#menu.open = false;
      this.#summary.focus();
    });
    this.#menu.addEventListener("focusout", ({ relatedTarget }) => {
      if (relatedTarget instanceof Node && !this.#menu.contains(relatedTarget)) this.#menu.open = false;
    });
    document.addEventListener("pointerdown", ({ target }) => {
      if (target instanceof Node && !this.#menu.contains(target)) this.#menu.open = false;
    });
  }

  /** The codes of those that are ticked, by their names. */
  get chosen() {
    return this.#boxes().filter((box) => box.checked).map((box) => box.value);
  }

  /** Open the list, or close it. */
  toggle() {
    if (this.#place.hidden) return;
    this.#menu.open = !this.#menu.open;
    (this.#menu.open ? this.#boxes()[0] : this.#summary)?.focus();
  }

  /** What the server translates into. @param {string[]} codes */
  offer(codes) {
    const wanted = new Set((remembered("translate") ?? "").split(","));
    const named = [...new Set(codes)].map((code) => ({ code, name: languageName(code) }));
    named.sort((one, other) => one.name.localeCompare(other.name));
    const labels = named.map(({ code, name }) => {
      const box = element("input", { type: "checkbox", value: code });
      box.checked = wanted.has(code);
      return element("label", { class: "check" }, [box, name]);
    });
    this.#options.replaceChildren(...labels);
    this.#place.hidden = !labels.length;
    this.#tell();
  }

  #boxes() {
    return [...this.#options.querySelectorAll("input")];
  }

  #tell() {
    this.#shown.textContent = this.chosen.map(languageName).join(", ") || "Nothing";
  }
}
