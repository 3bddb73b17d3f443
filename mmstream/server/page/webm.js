/**
 * Where a live WebM recording can be entered: its head (everything before the first cluster) and its key frames.
 *
 * WebM is a tree of elements, each an id, a size and its content. A live recording does not know how long its
 * clusters will be and leaves their sizes open, so whole elements inside one can be taken out and left out.
 */

const EBML = 0x1a45dfa3;
const SEGMENT = 0x18538067;
const TRACKS = 0x1654ae6b;
const TRACK_ENTRY = 0xae;
const TRACK_NUMBER = 0xd7;
const TRACK_TYPE = 0x83;
const CLUSTER = 0x1f43b675;
const TIMECODE = 0xe7;
const SIMPLE_BLOCK = 0xa3;
const OPENED = new Set([SEGMENT, TRACKS, TRACK_ENTRY, CLUSTER]); // whose content is read, element by element
const VIDEO = 1;
const KEY_FRAME = 0x80;
const TICKS_PER_S = 1000; // every browser's recorder counts milliseconds
const LARGEST_ELEMENT = 1 << 24; // bytes; more is no recording of a browser

/** @typedef {{position: number, time: number, ticks: number}} Entry a key frame: its place, and its cluster's clock */

export class WebmScanner {
  /** Key frames of the video so far. @type {Entry[]} */
  entries = [];
  /** False once something came that is not a live WebM recording; no entries are found from there on. */
  sound = true;

  #rest = new Uint8Array(0); // what came last and is not a whole element yet
  #position = 0; // of the first byte of #rest
  #head = new Uint8Array(0);
  #headDone = false;
  #ticks = 0; // the clock of the current cluster
  /** @type {number | null} */
  #origin = null; // ticks of the first block
  #track = 0;
  /** @type {number | null} */
  #videoTrack = null;

  /** @param {Uint8Array} bytes what follows on the bytes of the last call */
  feed(bytes) {
    if (!this.sound) return;
    this.#rest = joined(this.#rest, bytes);
    let at = 0;
    for (let element = this.#read(at); element; element = this.#read(at)) {
      const next = OPENED.has(element.id) ? element.content : element.content + element.size;
      this.#take(element, at);
      if (!this.#headDone) this.#head = joined(this.#head, this.#rest.subarray(at, next));
      at = next;
    }
    this.#rest = this.#rest.slice(at);
    this.#position += at;
  }

  /** Forget entries before `position`. @param {number} position */
  forget(position) {
    while (this.entries.length && this.entries[0].position < position) this.entries.shift();
  }

  /** What goes before the bytes from `entry` on, to make a recording of them. @param {Entry} entry */
  headFor(entry) {
    const cluster = new Uint8Array(22);
    const view = new DataView(cluster.buffer);
    view.setUint32(0, CLUSTER);
    view.setBigUint64(4, 0x01ffffffffffffffn); // its size is open
    view.setUint8(12, TIMECODE);
    view.setUint8(13, 0x88);
    view.setBigUint64(14, BigInt(entry.ticks));
    return joined(this.#head, cluster);
  }

  /**
   * The element at `at`, once all of it has come, or just its beginning where it is one to be opened.
   * @param {number} at
   */
  #read(at) {
    const id = variableInteger(this.#rest, at, false);
    const size = id && variableInteger(this.#rest, at + id.length, true);
    if (!id || !size) return null;
    const content = at + id.length + size.length;
    if (OPENED.has(id.value)) return { id: id.value, content, size: 0 };
    const first = this.#position + at === 0;
    if (size.value > LARGEST_ELEMENT || (first && id.value !== EBML)) this.sound = false;
    if (!this.sound || content + size.value > this.#rest.length) return null;
    return { id: id.value, content, size: size.value };
  }

  /** @param {{id: number, content: number, size: number}} element @param {number} at where it begins in #rest */
  #take({ id, content, size }, at) {
    const value = () => this.#rest.subarray(content, content + size).reduce((sum, byte) => 256 * sum + byte, 0);
    if (id === TRACK_NUMBER) this.#track = value();
    else if (id === TRACK_TYPE && value() === VIDEO) this.#videoTrack = this.#track;
    else if (id === CLUSTER) this.#headDone = true;
    else if (id === TIMECODE) this.#ticks = value();
    else if (id === SIMPLE_BLOCK) this.#block(content, at);
  }

  /** @param {number} content @param {number} at */
  #block(content, at) {
    const track = variableInteger(this.#rest, content, true);
    if (!track) return;
    const view = new DataView(this.#rest.buffer, this.#rest.byteOffset + content + track.length, 3);
    const ticks = this.#ticks + view.getInt16(0);
    this.#origin ??= ticks;
    if (track.value === this.#videoTrack && view.getUint8(2) & KEY_FRAME) {
      const time = (ticks - this.#origin) / TICKS_PER_S;
      this.entries.push({ position: this.#position + at, time, ticks: this.#ticks });
    }
  }
}

/**
 * EBML's integers: the number of leading zero bits of the first byte says how many bytes follow.
 * @param {Uint8Array} bytes @param {number} at @param {boolean} unmarked without the bit that ends those zeros
 */
function variableInteger(bytes, at, unmarked) {
  if (at >= bytes.length) return null;
  const length = Math.clz32(bytes[at]) - 23;
  if (at + length > bytes.length) return null;
  let value = unmarked ? bytes[at] & (0xff >> length) : bytes[at];
  for (const byte of bytes.subarray(at + 1, at + length)) value = 256 * value + byte;
  return { value, length };
}

/** @param {Uint8Array} first @param {Uint8Array} second */
function joined(first, second) {
  if (!first.length) return second.slice();
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
