/** Recordings on the page, word by word: only what changed is touched, so focus and selection stay. */

import { separator } from "./captions.js";
import { clock, element, percent } from "./elements.js";
import { textOf } from "./formats.js";

/** @typedef {import("./captions.js").Line} Line */
/** @typedef {import("./captions.js").CaptionLine} CaptionLine */
/** @typedef {import("./protocol.js").Word} Word */

const REMEMBERED = 20; // captions; what was read out long ago need not stay
const NEAR_PX = 60; // of the end: who is as near as that reads the newest words
const SHARE_SHOWN = 0.05; // of lips in a word; less is no help to speak of

/** What is known of the word that an element shows. @type {WeakMap<Element, Word>} */
const words = new WeakMap();

/** @param {Element} shown @returns {Word | undefined} */
export function wordOf(shown) {
  return words.get(shown);
}

/** One recording: its lines. */
export class CaptionView {
  /** @type {Map<Line, HTMLLIElement>} */
  #items = new Map();

  /** @param {HTMLElement} section the whole recording @param {HTMLElement} list where its lines go */
  constructor(section, list) {
    this.section = section;
    this.list = list;
  }

  /** @param {Line} line new or changed */
  show(line) {
    const item = this.#items.get(line) ?? this.#newItem(line);
    setText(item.children[0], clock(line.start));
    const text = /** @type {HTMLElement} */ (item.children[1]);
    if (line.kind === "gap") {
      item.classList.add(line.medium);
      const seconds = (line.end - line.start).toFixed(1);
      setText(text, `[${seconds} s of ${line.medium === "audio" ? "sound" : "video"} lost: ${line.reason}]`);
      return;
    }
    item.className = line.stale ? "line live stale" : line.final ? "line final" : "line live";
    text.lang = line.language ?? "";
    this.#showWords(text, line);
    this.#showTranslations(item, line);
  }

  /** @param {Line} line */
  remove(line) {
    this.#items.get(line)?.remove();
    this.#items.delete(line);
  }

  /** @param {Line} line */
  #newItem(line) {
    const text = element("p", { class: "text", dir: "auto" });
    const item = element("li", { class: `line ${line.kind}` }, [element("span", { class: "at" }), text]);
    this.#items.set(line, item);
    this.list.append(item);
    return item;
  }

  /** @param {HTMLElement} text @param {CaptionLine} line */
  #showWords(text, line) {
    const shown = [...text.querySelectorAll(".word")];
    const all = [...line.stable, ...line.unstable];
    const between = separator(line.language);
    all.forEach((word, at) => {
      let place = shown[at];
      if (!place) {
        place = element("span", { class: "word", tabindex: "-1" });
        if (at && between) text.append(between);
        text.append(place);
      }
      showWord(/** @type {HTMLElement} */ (place), word, at >= line.stable.length);
    });
    for (const place of shown.slice(all.length)) {
      if (place.previousSibling?.nodeType === Node.TEXT_NODE) place.previousSibling.remove();
      place.remove();
    }
  }

  /** @param {HTMLElement} item @param {CaptionLine} line */
  #showTranslations(item, line) {
    if (!line.translations.size) return;
    this.section.classList.add("translated");
    const place = item.children[2] ?? element("div", { class: "translations" });
    if (!place.parentNode) item.append(place);
    const paragraphs = [...line.translations].map(([target, { stable, unstable }]) => {
      const rest = unstable ? [" ", element("span", { class: "unstable" }, [unstable])] : [];
      const paragraph = element("p", { class: "translation", dir: "auto", lang: target }, [stable, ...rest]);
      if (line.translations.size > 1) paragraph.dataset.several = "";
      return paragraph;
    });
    place.replaceChildren(...paragraphs);
  }
}

/** @param {HTMLElement} place @param {Word} word @param {boolean} unstable */
function showWord(place, word, unstable) {
  words.set(place, word);
  setText(place, word.word);
  place.classList.toggle("unstable", unstable);
  const helped = word.video >= SHARE_SHOWN;
  place.classList.toggle("lips", helped);
  if (helped) place.style.setProperty("--share", percent(word.video).replace(" ", ""));
}

/** @param {Element} place @param {string} text */
function setText(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

/** Final captions for screen readers: each once, politely, and none of the many partial ones before it. */
export class Announcer {
  /** @type {WeakSet<object>} */
  #said = new WeakSet();

  /** @param {HTMLElement} region a live region */
  constructor(region) {
    this.region = region;
  }

  /** @param {import("./captions.js").Line} line */
  announce(line) {
    if (line.kind !== "caption" || !line.final || this.#said.has(line)) return;
    this.#said.add(line);
    this.region.append(element("p", line.language ? { lang: line.language } : {}, [textOf(line)]));
    while (this.region.children.length > REMEMBERED) this.region.firstChild?.remove();
  }
}

/** Keeps the newest words in sight, unless somebody reads further up. */
export class Scrolling {
  #following = true;

  /** @param {HTMLElement} box @param {HTMLButtonElement} newest */
  constructor(box, newest) {
    this.box = box;
    this.newest = newest;
    box.addEventListener("scroll", () => {
      this.#following = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX;
      if (this.#following) newest.hidden = true;
    });
    newest.onclick = () => this.toEnd();
  }

  /** Something new is there. */
  follow() {
    if (this.#following) this.toEnd();
    else this.newest.hidden = false;
  }

  toEnd() {
    this.#following = true;
    this.newest.hidden = true;
    this.box.scrollTop = this.box.scrollHeight;
  }
}
