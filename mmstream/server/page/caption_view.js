/** Recordings on the page, word by word: only what changed is touched, so focus and selection stay. */

import { separator } from "./captions.js";
import { clock, element, percent } from "./elements.js";
import { textOf } from "./formats.js";
import { languageName } from "./translations.js";

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

const MOST_COLUMNS = 2; // of translations, side by side; more of them stand one below the other

/** One recording: its lines. */
export class CaptionView {
  /** @type {Map<Line, HTMLLIElement>} */
  #items = new Map();

  /**
   * @param {HTMLElement} section the whole recording @param {HTMLElement} list where its lines go
   * @param {string[]} targets languages that stand beside what was said
   */
  constructor(section, list, targets) {
    this.list = list;
    this.targets = targets;
    if (!targets.length) return;
    section.classList.add("translated");
    section.dataset.columns = targets.length > MOST_COLUMNS ? "1" : String(targets.length);
    const names = targets.map((target) => element("span", {}, [languageName(target)]));
    const beside = element("div", { class: "translations" }, names);
    list.before(element("div", { class: "languages", "aria-hidden": "true" }, [
      element("span"), element("span", {}, ["As spoken"]), beside,
    ]));
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
    showWords(text, line, line.language);
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

  /** @param {HTMLElement} item @param {CaptionLine} line */
  #showTranslations(item, line) {
    if (!line.translations.size) return;
    if (!item.children[2]) {
      const several = this.targets.length > 1 ? { "data-several": "" } : {};
      const paragraphs = this.targets.map((lang) => element("p", { class: "translation", dir: "auto", lang, ...several }));
      item.append(element("div", { class: "translations" }, paragraphs));
    }
    this.targets.forEach((target, at) => {
      const translation = line.translations.get(target);
      if (translation) showWords(/** @type {HTMLElement} */ (item.children[2].children[at]), translation, target);
    });
  }
}

/** @param {HTMLElement} text @param {{stable: Word[], unstable: Word[]}} said @param {string | null} language */
function showWords(text, { stable, unstable }, language) {
  const shown = [...text.querySelectorAll(".word")];
  const all = [...stable, ...unstable];
  const between = separator(language);
  all.forEach((word, at) => {
    let place = shown[at];
    if (!place) {
      place = element("span", { class: "word", tabindex: "-1" });
      if (at && between) text.append(between);
      text.append(place);
    }
    showWord(/** @type {HTMLElement} */ (place), word, at >= stable.length);
  });
  for (const place of shown.slice(all.length)) {
    if (place.previousSibling?.nodeType === Node.TEXT_NODE) place.previousSibling.remove();
    place.remove();
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

/** Final captions and translations for screen readers: each once, politely, and none of the partial ones before it. */
export class Announcer {
  /** @type {WeakSet<object>} */
  #said = new WeakSet();

  /** @param {HTMLElement} region a live region */
  constructor(region) {
    this.region = region;
  }

  /** @param {import("./captions.js").Line} line */
  announce(line) {
    if (line.kind !== "caption") return;
    if (line.final) this.#say(line, line.language, line);
    for (const [target, translation] of line.translations) {
      if (line.final && translation.final) this.#say(translation, target, translation);
    }
  }

  /** @param {object} once what is not said again @param {string | null} language @param {import("./formats.js").Said} said */
  #say(once, language, said) {
    const text = textOf(said, language);
    if (this.#said.has(once) || !text) return;
    this.#said.add(once);
    this.region.append(element("p", language ? { lang: language } : {}, [text]));
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
