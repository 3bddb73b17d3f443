/**
 * The captions of one recording, as the server tells them. No document, no network: events in, changed lines out.
 *
 * @typedef {import("./protocol.js").Word} Word
 * @typedef {{stable: Word[], unstable: Word[], final: boolean}} Translation
 * @typedef {object} CaptionLine
 * @property {"caption"} kind
 * @property {number} number its place among the lines
 * @property {number} start media seconds
 * @property {number} end
 * @property {string | null} language
 * @property {Word[]} stable words that will not change
 * @property {Word[]} unstable words that may
 * @property {boolean} final
 * @property {boolean} stale the server that said it is gone; the next one says it again
 * @property {Map<string, Translation>} translations by target language
 *
 * @typedef {object} GapLine lost media
 * @property {"gap"} kind
 * @property {number} number
 * @property {number} start
 * @property {number} end
 * @property {"audio" | "video"} medium
 * @property {string} reason
 *
 * @typedef {CaptionLine | GapLine} Line
 * @typedef {{changed: (line: Line) => void, removed: (line: Line) => void}} Watcher
 */

const ADJACENT_S = 1; // lost video no further apart than this is one loss
const UNSPACED = new Set(["ja", "zh", "yue", "th", "lo", "my"]); // languages written without spaces

/** What goes between two words. @param {string | null} language */
export function separator(language) {
  return UNSPACED.has((language ?? "").split("-")[0]) ? "" : " ";
}

export class Transcript {
  /** In order of appearance. @type {Line[]} */
  lines = [];
  /** The end of the last final caption. */
  settled = 0;
  #count = 0;
  /** Lines of the current server session, by the index of their caption. @type {Map<number, CaptionLine>} */
  #byIndex = new Map();
  /** Translations that came before their caption. @type {Map<number, Map<string, Translation>>} */
  #early = new Map();
  #floor = 0; // words before it have been shown by an earlier server session

  /** @param {Watcher} watcher @param {string[]} targets languages that it is translated into */
  constructor(watcher, targets = []) {
    this.watcher = watcher;
    this.targets = targets;
  }

  get finals() {
    return this.lines.filter((line) => line.kind === "caption" && line.final);
  }

  /** @param {import("./protocol.js").ServerEvent} event */
  heard(event) {
    if (event.type === "caption") this.#caption(event);
    else if (event.type === "translation") this.#translation(event);
    else if (event.type === "gap") this.gap(event.start, event.end, event.medium, event.reason);
  }

  /**
   * A server that cannot keep up gives up video again and again: that is one line, or it would drown the captions.
   * @param {number} start @param {number} end @param {"audio" | "video"} medium @param {string} reason
   */
  gap(start, end, medium, reason) {
    const last = this.lines[this.lines.length - 1];
    const more = last?.kind === "gap" && last.medium === "video" && medium === "video";
    if (more && start <= last.end + ADJACENT_S) {
      Object.assign(last, { end: Math.max(last.end, end), reason });
      this.watcher.changed(last);
      return;
    }
    this.#add({ kind: "gap", number: this.#count, start, end, medium, reason });
  }

  /**
   * A new server session hears again what comes after `begins`. Words before it stay; the others of captions that
   * were not final stand until they are said again. Nobody goes on with translations of what is not said again.
   * @param {number} begins
   */
  startedAnew(begins) {
    this.#byIndex.clear();
    this.#early.clear();
    this.#floor = Math.max(begins, this.settled);
    for (const line of this.#open()) {
      const past = line.stable.filter((word) => middle(word) < this.#floor);
      if (past.length) this.#settle(line, past, past[past.length - 1].end);
      else {
        line.stale = true;
        this.watcher.changed(line);
      }
    }
    this.#settleTranslations();
  }

  /** Nothing more comes: what is stable stays. */
  ended() {
    this.#settleTranslations();
    for (const line of this.#open()) this.#settle(line, line.stable, line.end);
  }

  /** @param {import("./protocol.js").CaptionEvent} event */
  #caption(event) {
    const stable = event.stable.filter((word) => middle(word) >= this.#floor);
    const unstable = event.unstable.filter((word) => middle(word) >= this.#floor);
    const known = this.#byIndex.get(event.index);
    if (known?.final) return;
    if (!known && !stable.length && !unstable.length) return;
    const line = known ?? this.#newLine(event.index);
    const start = Math.max(event.start, Math.min(this.#floor, event.end));
    Object.assign(line, { start, end: event.end, language: event.language, stable, unstable });
    if (event.final) this.#settle(line, [...stable, ...unstable], event.end);
    else this.watcher.changed(line);
  }

  /** @param {number} index */
  #newLine(index) {
    for (const line of this.#open().filter((open) => open.stale)) this.#remove(line);
    /** @type {CaptionLine} */
    const line = {
      kind: "caption", number: this.#count, start: 0, end: 0, language: null, stable: [], unstable: [], final: false,
      stale: false, translations: this.#early.get(index) ?? new Map(),
    };
    this.#byIndex.set(index, line);
    this.#add(line);
    return line;
  }

  /** @param {import("./protocol.js").TranslationEvent} event */
  #translation({ index, target, final, ...said }) {
    const [stable, unstable] = [said.stable, said.unstable].map((words) => {
      return words.filter((word) => middle(word) >= this.#floor);
    });
    const line = this.#byIndex.get(index);
    const translations = line?.translations ?? this.#early.get(index) ?? new Map();
    if (translations.get(target)?.final) return;
    translations.set(target, { stable, unstable, final });
    if (line) this.watcher.changed(line);
    else this.#early.set(index, translations);
  }

  /** Nothing more comes of those under way. What was shown stays, unless what it translates may be said again. */
  #settleTranslations() {
    for (const line of this.lines) {
      if (line.kind === "gap") continue;
      const under_way = [...line.translations].filter(([, { final }]) => !final);
      for (const [target, { stable, unstable }] of under_way) {
        const words = line.final ? [...stable, ...unstable] : stable;
        line.translations.set(target, { stable: words, unstable: [], final: true });
      }
      if (under_way.length) this.watcher.changed(line);
    }
  }

  #open() {
    return this.lines.filter((line) => line.kind === "caption").filter((line) => !line.final);
  }

  /** @param {CaptionLine} line @param {Word[]} words @param {number} end */
  #settle(line, words, end) {
    if (!words.length) {
      this.#remove(line);
      return;
    }
    Object.assign(line, { end, stable: words, unstable: [], final: true, stale: false });
    this.settled = Math.max(this.settled, line.end);
    this.watcher.changed(line);
  }

  /** @param {Line} line */
  #add(line) {
    this.#count += 1;
    this.lines.push(line);
    if (line.kind === "gap") this.watcher.changed(line);
  }

  /** @param {Line} line */
  #remove(line) {
    this.lines = this.lines.filter((one) => one !== line);
    this.watcher.removed(line);
  }
}

/** @param {Word} word */
function middle(word) {
  return (word.start + word.end) / 2;
}
