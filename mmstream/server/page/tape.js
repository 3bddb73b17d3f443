/**
 * What was recorded, kept for a while so that it can be sent again after a lost connection.
 *
 * Positions count the bytes of the current session's media. `rewind` begins a new session: it cuts off what need not
 * be sent again and counts anew.
 */

import { WebmScanner } from "./webm.js";

export const KEPT_S = 30;
const SLACK_S = 10; // kept longer than promised: what a rewind has chosen must last until the server has answered

/** @typedef {{position: number, bytes: Uint8Array, at_ms: number}} Piece `at_ms`: when it was recorded */

export class Tape {
  /** @type {Piece[]} */
  pieces = [];
  /** The position behind the last byte. */
  end = 0;

  /** The position of the first byte that is still kept. */
  get begin() {
    return this.pieces.length ? this.pieces[0].position : this.end;
  }

  /** @param {Uint8Array} bytes @param {number} now_ms */
  push(bytes, now_ms) {
    this.pieces.push({ position: this.end, bytes, at_ms: now_ms });
    this.end += bytes.length;
    while (this.pieces[0].at_ms < now_ms - (KEPT_S + SLACK_S) * 1000) this.pieces.shift();
  }

  /**
   * The bytes from `position` to the end of their piece; null where nothing is there (yet).
   * @param {number} position not before `begin`
   */
  from(position) {
    const piece = this.pieces.find((one) => position < one.position + one.bytes.length);
    return piece ? piece.bytes.subarray(position - piece.position) : null;
  }

  /** For how long the byte at `position` has been waiting. @param {number} position @param {number} now_ms */
  waited_s(position, now_ms) {
    const piece = this.pieces.find((one) => position < one.position + one.bytes.length);
    return piece ? (now_ms - piece.at_ms) / 1000 : 0;
  }

  /** The first position that is surely kept long enough. @param {number} now_ms */
  firstPromised(now_ms) {
    return this.pieces.find((piece) => piece.at_ms >= now_ms - KEPT_S * 1000)?.position ?? this.end;
  }

  /**
   * Drop what is before `position`, put `head` before the rest, and count from 0.
   * @param {number} position @param {Uint8Array} [head]
   */
  cut(position, head) {
    const rest = this.pieces.filter((piece) => position < piece.position + piece.bytes.length);
    this.pieces = head && rest.length ? [{ position: 0, bytes: head, at_ms: rest[0].at_ms }] : [];
    this.end = this.pieces.length ? head?.length ?? 0 : 0;
    for (const { position: start, bytes, at_ms } of rest) {
      const kept = bytes.subarray(Math.max(0, position - start));
      this.pieces.push({ position: this.end, bytes: kept, at_ms });
      this.end += kept.length;
    }
  }

  /**
   * Begin a new session's media at `time`, or where what is kept begins.
   * @param {number} time @param {number} now_ms
   * @returns {number} the time at which the media begins now; at `time` or before it, later only where it is lost
   */
  rewind(time, now_ms) {
    throw new Error(`a plain tape cannot go to ${time} s (${now_ms})`);
  }

  /** The time at `position`. @param {number} position @returns {number} */
  timeAt(position) {
    throw new Error(`a plain tape does not know the time at ${position}`);
  }
}

/** 16-bit samples of one channel. */
export class PcmTape extends Tape {
  #begun_s = 0;

  /** @param {number} sample_rate Hz */
  constructor(sample_rate) {
    super();
    this.bytes_per_s = 2 * sample_rate;
  }

  /** @override @param {number} position */
  timeAt(position) {
    return this.#begun_s + position / this.bytes_per_s;
  }

  /** @override @param {number} time @param {number} now_ms */
  rewind(time, now_ms) {
    const wanted = 2 * Math.round(((time - this.#begun_s) * this.bytes_per_s) / 2);
    const position = Math.min(Math.max(wanted, this.firstPromised(now_ms)), this.end);
    const begins = this.timeAt(position);
    this.cut(position);
    this.#begun_s = begins;
    return begins;
  }
}

/** A live WebM recording. It can begin anew at any key frame, behind the head that it began with. */
export class WebmTape extends Tape {
  #scanner = new WebmScanner();
  #shift = 0; // from positions in the whole recording to those of this session

  /** @override @param {Uint8Array} bytes @param {number} now_ms */
  push(bytes, now_ms) {
    super.push(bytes, now_ms);
    this.#scanner.feed(bytes);
    this.#scanner.forget(this.begin - this.#shift);
  }

  /** @override @param {number} position */
  timeAt(position) {
    return this.#scanner.entries.findLast((entry) => entry.position <= position - this.#shift)?.time ?? 0;
  }

  /** @override @param {number} time @param {number} now_ms */
  rewind(time, now_ms) {
    const first = this.firstPromised(now_ms) - this.#shift;
    const kept = this.#scanner.entries.filter((entry) => entry.position >= first);
    const entry = kept.findLast((one) => one.time <= time) ?? kept[0];
    if (!entry) return this.timeAt(this.end);
    const head = this.#scanner.headFor(entry);
    this.cut(entry.position + this.#shift, head);
    this.#shift = head.length - entry.position;
    return entry.time;
  }
}
