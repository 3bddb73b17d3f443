/** The recordings on the page, oldest first, each with its captions and with buttons that save them. */

import { CaptionView } from "./caption_view.js";
import { Transcript } from "./captions.js";
import { element } from "./elements.js";
import { FORMATS } from "./formats.js";

/** One recording: what was heard, and where it is shown. */
export class Recording {
  saved = true; // nothing that is not in a file

  /** @param {string} title @param {(line: import("./captions.js").Line) => void} changed after a line was shown */
  constructor(title, changed) {
    this.title = title;
    const list = element("ol", { class: "lines", role: "list" });
    this.buttons = element("div", { class: "save", role: "group", "aria-label": `Save ${title} as` }, ["Save"]);
    for (const format of Object.keys(FORMATS)) {
      const button = element("button", { type: "button", "data-format": format }, [format.toUpperCase()]);
      button.onclick = () => this.save(format);
      this.buttons.append(button);
    }
    this.buttons.hidden = true;
    const head = element("div", { class: "section-head" }, [element("h3", {}, [title]), this.buttons]);
    this.place = element("div", { class: "section" }, [head, list]);
    const view = new CaptionView(this.place, list);
    this.transcript = new Transcript({
      changed: (line) => {
        view.show(line);
        if (line.kind === "caption" && line.final) {
          this.buttons.hidden = false;
          this.saved = false;
        }
        changed(line);
      },
      removed: (line) => view.remove(line),
    });
  }

  /** Nothing more comes. Says so where nothing was heard at all. */
  ended() {
    this.transcript.ended();
    if (this.transcript.lines.length) return;
    this.place.append(element("p", { class: "nothing" }, ["No words were heard."]));
  }

  /** @param {string} format of FORMATS */
  save(format) {
    const { type, write } = FORMATS[format];
    const file = new Blob([write(this.transcript.lines)], { type });
    const link = element("a", { href: URL.createObjectURL(file), download: `${fileName(this.title)}.${format}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser takes its time to read it
    this.saved = true;
  }
}

/** All of them. */
export class Recordings {
  /** @type {Recording[]} */
  all = [];

  /** @param {HTMLElement} place @param {(line: import("./captions.js").Line) => void} changed */
  constructor(place, changed) {
    this.place = place;
    this.changed = changed;
  }

  get saved() {
    return this.all.every((recording) => recording.saved);
  }

  /** @param {string} title */
  add(title) {
    const recording = new Recording(title, this.changed);
    this.all.push(recording);
    this.place.append(recording.place);
    return recording;
  }

  /** @param {Recording[]} kept those that are not over yet */
  clear(kept) {
    for (const recording of this.all) if (!kept.includes(recording)) recording.place.remove();
    this.all = kept;
  }
}

/** A title as the name of a file. @param {string} title */
function fileName(title) {
  return title.replace(/\.[a-z0-9]{2,4}$/i, "").replace(/[^\p{Letter}\p{Number}]+/gu, "-").replace(/^-|-$/g, "") || "captions";
}
