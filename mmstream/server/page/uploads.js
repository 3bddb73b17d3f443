/** Files: chosen or dropped, sent with progress, and their captions shown. One at a time. */

import { byId, percent } from "./elements.js";
import { token } from "./preferences.js";
import { address, authorization } from "./protocol.js";
import { problemOf } from "./server.js";

/** @typedef {import("./recordings.js").Recording} Recording */

/** The button, the drop target and the progress. */
export class Uploads {
  #input = byId("file", HTMLInputElement);
  #button = byId("choose-file", HTMLButtonElement);
  #panel = byId("upload", HTMLElement);
  #name = byId("upload-name", HTMLElement);
  #state = byId("upload-state", HTMLElement);
  #progress = byId("upload-progress", HTMLProgressElement);
  /** @type {Upload | null} */
  #upload = null;

  /**
   * @param {object} page
   * @param {(title: string, targets: string[]) => Recording} page.begin
   * @param {import("./server.js").Models} page.models
   * @param {import("./notices.js").Notices} page.notices
   * @param {(again: () => void) => void} page.askAgain
   */
  constructor(page) {
    this.page = page;
    this.#button.onclick = () => this.choose();
    this.#input.onchange = () => {
      if (this.#input.files?.length) this.#send(this.#input.files[0]);
      this.#input.value = ""; // the same file may be chosen again
    };
    byId("upload-cancel", HTMLButtonElement).onclick = () => {
      this.#upload?.cancel();
      this.#over();
    };
    this.#takeDrops(byId("captions", HTMLElement));
  }

  choose() {
    if (!this.#upload) this.#input.click();
  }

  /** @param {HTMLElement} target */
  #takeDrops(target) {
    // A file dropped beside the captions would make the browser leave the page.
    addEventListener("drop", (event) => event.preventDefault());
    addEventListener("dragover", (event) => event.preventDefault());
    target.addEventListener("dragenter", () => target.classList.add("dropping"));
    target.addEventListener("dragleave", (event) => {
      if (!target.contains(/** @type {Node | null} */ (event.relatedTarget))) target.classList.remove("dropping");
    });
    target.addEventListener("drop", (event) => {
      target.classList.remove("dropping");
      const file = event.dataTransfer?.files[0];
      if (file && !this.#upload) this.#send(file);
    });
  }

  /** @param {File} file */
  #send(file) {
    this.page.notices.clear("file");
    this.#name.textContent = file.name;
    this.#panel.hidden = false;
    this.#button.disabled = true;
    this.#sent(0);
    const wishes = this.page.models.wishes;
    this.#upload = new Upload(file, wishes, {
      sent: (share) => this.#sent(share),
      done: (answer) => {
        this.#over();
        const recording = this.page.begin(file.name, wishes.translate);
        for (const event of eventsOf(answer)) recording.transcript.heard(event);
        recording.ended();
      },
      failed: (code, detail) => {
        this.#over();
        if (code === "unauthorized") this.page.askAgain(() => this.#send(file));
        else this.page.notices.show("file", code, detail);
      },
    });
  }

  /** @param {number} share */
  #sent(share) {
    if (share < 1) {
      this.#progress.value = 100 * share;
      this.#state.textContent = `${percent(share)} sent`;
    } else {
      this.#progress.removeAttribute("value"); // how long the server listens is not known
      this.#state.textContent = "being heard…";
    }
  }

  #over() {
    this.#upload = null;
    this.#panel.hidden = true;
    this.#button.disabled = false;
  }
}

/** @typedef {{id: number, start: number, end: number, text: string}} Segment */
/** @typedef {{word: string, start: number, end: number, confidence?: number | null, video?: number}} HeardWord */
/**
 * @typedef {object} Verbose what /v1/audio/transcriptions answers with `verbose_json`
 * @property {string} [language_code]
 * @property {Segment[]} [segments]
 * @property {HeardWord[]} [words]
 * @property {Record<string, {segments: Segment[], words: HeardWord[]}>} [translations] by language
 * @property {{start: number, end: number, medium: "audio" | "video", reason: string}[]} [gaps]
 */

/** One file on its way. */
export class Upload {
  #request = new XMLHttpRequest();

  /**
   * @param {File} file
   * @param {{model: string, language: string, translate: string[]}} wishes
   * @param {object} tell
   * @param {(share: number) => void} tell.sent 0..1; 1: all of it
   * @param {(answer: Verbose) => void} tell.done
   * @param {(code: string, detail: string) => void} tell.failed
   */
  constructor(file, wishes, tell) {
    const form = new FormData();
    form.append("model", wishes.model);
    if (wishes.language) form.append("language", wishes.language);
    if (wishes.translate.length) form.append("translate", wishes.translate.join(","));
    form.append("response_format", "verbose_json");
    form.append("timestamp_granularities[]", "segment");
    form.append("timestamp_granularities[]", "word");
    form.append("file", file);
    const request = this.#request;
    request.open("POST", address("v1/audio/transcriptions"));
    for (const [name, value] of Object.entries(authorization(token()))) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => tell.sent(total ? loaded / total : 0);
    request.upload.onload = () => tell.sent(1);
    request.onerror = () => tell.failed("upload_failed", "");
    request.onload = () => {
      const problem = problemOf(request.status);
      if (problem) tell.failed(...reasonOf(request.responseText, problem));
      else tell.done(JSON.parse(request.responseText));
    };
    request.send(form);
  }

  cancel() {
    this.#request.abort();
  }
}

/**
 * The answer as events, as a live session would tell them.
 * @param {Verbose} answer
 * @returns {(import("./protocol.js").CaptionEvent | import("./protocol.js").TranslationEvent
 *     | import("./protocol.js").GapEvent)[]}
 */
export function eventsOf({ segments = [], words = [], gaps = [], translations = {}, language_code }) {
  /** @type {import("./protocol.js").CaptionEvent[]} */
  const captions = utterances(segments, words).map((said, index) => {
    return { type: "caption", seq: index, ...said, index, language: language_code ?? null };
  });
  /** @type {import("./protocol.js").TranslationEvent[]} */
  const translated = Object.entries(translations).flatMap(([target, { segments, words }]) => {
    return utterances(segments, words).map((said) => ({ type: "translation", seq: said.index, ...said, target }));
  });
  /** @type {import("./protocol.js").GapEvent[]} */
  const lost = gaps.map((gap, seq) => ({ type: "gap", seq, ...gap }));
  return [...[...captions, ...lost].sort((one, other) => one.start - other.start), ...translated];
}

/** Every segment with its own words. @param {Segment[]} segments @param {HeardWord[]} words */
function utterances(segments, words) {
  const all = words.map(({ word, start, end, confidence, video }) => {
    return { word: word.trim(), start, end, confidence: confidence ?? null, video: video ?? 0 };
  });
  return segments.map(({ id, start, end, text }, at) => {
    const next = segments[at + 1]?.start ?? Infinity;
    const own = all.filter((word) => (at === 0 || word.start >= start) && word.start < next);
    const whole = { word: text.trim(), start, end, confidence: null, video: 0 };
    const stable = own.length ? own : whole.word ? [whole] : [];
    return { index: id, final: true, start, end, stable, unstable: [] };
  });
}

/**
 * The code and the line that the server gives as its reason.
 * @param {string} body @param {string} status what its HTTP status means
 * @returns {[code: string, detail: string]}
 */
function reasonOf(body, status) {
  try {
    const { error } = JSON.parse(body);
    return [error?.code ?? status, error?.message ?? ""];
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return [status, ""]; // something between us and the server has answered
  }
}
