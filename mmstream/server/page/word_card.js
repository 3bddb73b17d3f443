/** The card of one word: its time, confidence and share of lips. By pointer, by touch, and by Tab and arrow keys. */

import { wordOf } from "./caption_view.js";
import { element, percent } from "./elements.js";

const LEAVE_MS = 150; // long enough to move the pointer from the word onto the card
const MARGIN_PX = 8;

export class WordCard {
  /** @type {HTMLElement | null} */
  #word = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #leaving;

  /** @param {HTMLElement} card @param {HTMLElement} captions everything that holds words */
  constructor(card, captions) {
    this.card = card;
    this.captions = captions;
    captions.addEventListener("pointerover", (event) => this.#over(event));
    captions.addEventListener("pointerout", () => this.#leave());
    captions.addEventListener("focusin", (event) => this.#focused(event));
    captions.addEventListener("focusout", () => this.hide());
    captions.addEventListener("keydown", (event) => this.#key(event));
    captions.addEventListener("scroll", () => this.hide());
    card.addEventListener("pointerenter", () => clearTimeout(this.#leaving));
    card.addEventListener("pointerleave", () => this.#leave());
  }

  get shown() {
    return this.#word !== null;
  }

  hide() {
    clearTimeout(this.#leaving);
    this.#word?.removeAttribute("aria-describedby");
    this.#word = null;
    this.card.hidden = true;
  }

  /** Words have come or gone: one of them is always reached by Tab, the newest unless another one was chosen. */
  keepReachable() {
    if (this.captions.contains(document.activeElement) && wordAt(document.activeElement)) return;
    const all = this.#words();
    const newest = all[all.length - 1];
    if (newest) this.#reachable(newest);
  }

  /** @param {Event} event */
  #over(event) {
    const word = wordAt(event.target);
    if (word) this.#show(word);
  }

  #leave() {
    clearTimeout(this.#leaving);
    this.#leaving = setTimeout(() => {
      const focused = wordAt(document.activeElement);
      if (focused) this.#show(focused);
      else this.hide();
    }, LEAVE_MS);
  }

  /** @param {Event} event */
  #focused(event) {
    const word = wordAt(event.target);
    if (!word) return;
    this.#reachable(word);
    this.#show(word);
  }

  /** @param {HTMLElement} word */
  #reachable(word) {
    for (const other of this.captions.querySelectorAll(".word[tabindex='0']")) other.setAttribute("tabindex", "-1");
    word.setAttribute("tabindex", "0");
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const word = wordAt(event.target);
    if (!word || event.ctrlKey || event.metaKey || event.altKey) return;
    const next = this.#next(word, event.key);
    if (next === undefined) return;
    event.preventDefault();
    next?.focus();
  }

  /** Where a key leads: a word, null for no further, undefined for other keys. @param {HTMLElement} word @param {string} key */
  #next(word, key) {
    const all = this.#words();
    const at = all.indexOf(word);
    switch (key) {
      case "ArrowLeft": return all[at - 1] ?? null;
      case "ArrowRight": return all[at + 1] ?? null;
      case "Home": return all[0];
      case "End": return all[all.length - 1];
      case "ArrowUp": return all.slice(0, at).findLast((other) => !sameLine(other, word)) ?? null;
      case "ArrowDown": return all.slice(at).find((other) => !sameLine(other, word)) ?? null;
      default: return undefined;
    }
  }

  #words() {
    return [...this.captions.querySelectorAll(".line .word")].map((word) => /** @type {HTMLElement} */ (word));
  }

  /** @param {HTMLElement} place */
  #show(place) {
    const word = wordOf(place);
    if (!word) return;
    this.hide();
    this.#word = place;
    place.setAttribute("aria-describedby", this.card.id);
    const given = word.confidence !== null && word.confidence !== undefined;
    this.card.replaceChildren(
      element("dl", {}, [
        ...row("Time", `${word.start.toFixed(2)}–${word.end.toFixed(2)} s`),
        ...row("Confidence", given ? percent(word.confidence ?? 0) : "not given"),
        ...(given ? [bar(word.confidence ?? 0, "share-bar")] : []),
        ...row("Lips", percent(word.video)),
        bar(word.video, "share-bar of-lips"),
      ]),
    );
    this.card.hidden = false;
    const at = place.getBoundingClientRect();
    const { width, height } = this.card.getBoundingClientRect();
    const left = Math.min(Math.max(MARGIN_PX, at.left + at.width / 2 - width / 2), innerWidth - width - MARGIN_PX);
    const above = at.top - height - MARGIN_PX;
    this.card.style.left = `${left}px`;
    this.card.style.top = `${above < MARGIN_PX ? at.bottom + MARGIN_PX : above}px`;
  }
}

/** @param {EventTarget | null} target @returns {HTMLElement | null} */
function wordAt(target) {
  return target instanceof HTMLElement && target.matches(".line .word") ? target : null;
}

/** @param {HTMLElement} one @param {HTMLElement} other */
function sameLine(one, other) {
  return one.parentNode === other.parentNode;
}

/** @param {string} name @param {string} value */
function row(name, value) {
  return [element("dt", {}, [name]), element("dd", {}, [value])];
}

/** @param {number} share @param {string} kind */
function bar(share, kind) {
  const filled = element("span");
  filled.style.setProperty("--share", percent(share).replace(" ", ""));
  return element("div", { class: kind, "aria-hidden": "true" }, [filled]);
}
