/** The recordings on the page, oldest first, each with its captions and with buttons that save them. */

import { CaptionView } from "./caption_view.js";
import { Transcript } from "./captions.js";
import { element } from "./elements.js";
import { FORMATS, translated } from "./formats.js";
import { languageName } from "./translations.js";

/** One recording: what was heard, and where it is shown. */
export class Recording {
  saved = true; // nothing that is not in a file

  /**
   * @param {string} title @param {(line: import("./captions.js").Line) => void} changed after a line was shown
   * @param {string[]} targets languages that it is translated into
   */
  constructor(title, changed, targets = []) {
    this.title = title;
    const list = element("ol", { class: "lines", role: "list" });
    this.buttons = element("div", { class: "save", role: "group", "aria-label": `Save ${title} as` }, ["Save"]);
    this.language = element("select", { "aria-label": "Language of the file" }, [new Option("as spoken", "")]);
    this.language.append(...targets.map((target) => new Option(`in ${languageName(target)}`, target)));
    if (targets.length) this.buttons.append(this.language);
    for (const format of Object.keys(FORMATS)) {
      const button = element("button", { type: "button", "data-format": format }, [format.toUpperCase()]);
      button.onclick = () => this.save(format);
      this.buttons.append(button);
    }
    this.buttons.hidden = true;
    const head = element("div", { class: "section-head" }, [element("h3", {}, [title]), this.buttons]);
    this.place = element("div", { class: "section" }, [head, list]);
    const view = new CaptionView(this.place, list, targets);
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
    }, targets);
  }

  /** Nothing more comes. Says so where nothing was heard at all. */
  ended() {
    this.transcript.ended();
    if (this.transcript.lines.length) return;
    this.place.append(element("p", { class: "nothing" }, ["No words were heard."]));
  }

  /** In the chosen language; JSON holds all of them. @param {string} format of FORMATS */
  save(format) {
    const { type, write } = FORMATS[format];
    const target = format === "json" ? "" : this.language.value;
    const lines = target ? translated(this.transcript.lines, target) : this.transcript.lines;
    const file = new Blob([write(lines)], { type });
    const name = [fileName(this.title), ...(target ? [target] : []), format].join(".");
    const link = element("a", { href: URL.createObjectURL(file), download: name });
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

  /** @param {string} title @param {string[]} targets languages that it is translated into */
  add(title, targets) {
    const recording = new Recording(title, this.changed, targets);
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
