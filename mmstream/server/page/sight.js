/** The camera's picture, with the face and the mouth that the server follows drawn over it. */

import { byId } from "./elements.js";

/** @typedef {import("./protocol.js").SightEvent} SightEvent */

const STALE_MS = 1500; // what was seen so long ago is not where it was
const SPEAKING = 0.5;
const DOUBTFUL = 0.3; // quality below which a face counts for little

export class Sight {
  #card = byId("sight", HTMLElement);
  #picture = /** @type {HTMLElement} */ (this.#card.querySelector(".picture"));
  #preview = byId("preview", HTMLVideoElement);
  #canvas = byId("boxes", HTMLCanvasElement);
  #seen = byId("seen", HTMLElement);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #stale;

  /** @param {MediaStream} stream */
  show(stream) {
    const settings = stream.getVideoTracks()[0].getSettings();
    this.#picture.classList.toggle("mirrored", settings.facingMode !== "environment");
    if (settings.width && settings.height) this.#picture.style.aspectRatio = `${settings.width} / ${settings.height}`;
    this.#preview.srcObject = stream;
    this.#seen.textContent = "No face yet.";
    this.#card.hidden = false;
  }

  hide() {
    clearTimeout(this.#stale);
    this.#preview.srcObject = null;
    this.#card.hidden = true;
    this.#canvas.width = this.#canvas.width; // setting it clears the canvas
  }

  /** @param {SightEvent} event */
  heard(event) {
    clearTimeout(this.#stale);
    this.#stale = setTimeout(() => {
      this.#draw({ ...event, face: null, mouth: null });
      this.#seen.textContent = "Waiting for the server to look again.";
    }, STALE_MS);
    this.#draw(event);
  }

  /** @param {SightEvent} event */
  #draw({ width, height, face, mouth, quality, speaking }) {
    this.#canvas.width = width;
    this.#canvas.height = height;
    const pen = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d"));
    const thick = Math.max(1.5, width / 240);
    if (face) box(pen, face, thick, "#ffffff", quality < DOUBTFUL ? [3 * thick, 3 * thick] : []);
    if (mouth) box(pen, mouth, 1.6 * thick, "#ff9df2", []);
    const text = says(face !== null, quality, speaking);
    if (this.#seen.textContent !== text) this.#seen.textContent = text;
  }
}

/** @param {boolean} face @param {number} quality @param {number} speaking */
function says(face, quality, speaking) {
  if (!face) return "No face in sight: going by sound alone.";
  if (quality < DOUBTFUL) return "The face is hard to see: more light, or nearer to the camera.";
  return speaking >= SPEAKING ? "Reading the lips that speak." : "A face is in sight; its lips rest.";
}

/**
 * A box in a light colour on a dark edge: seen on every picture.
 * @param {CanvasRenderingContext2D} pen @param {import("./protocol.js").Box} edges
 * @param {number} thick @param {string} colour @param {number[]} dashes
 */
function box(pen, [left, top, width, height], thick, colour, dashes) {
  pen.setLineDash(dashes);
  for (const [style, extra] of /** @type {[string, number][]} */ ([["rgb(0 0 0 / 60%)", thick], [colour, 0]])) {
    pen.strokeStyle = style;
    pen.lineWidth = thick + extra;
    pen.beginPath();
    pen.roundRect(left, top, width, height, 3 * thick);
    pen.stroke();
  }
}
