/** What the microphone and the camera give: how loud it is, and a recording of it for the server. */

import { PcmTape, WebmTape } from "./tape.js";

const SAMPLE_RATE = 16_000; // of the microphone alone
const MESSAGE_MS = 80;
const TYPES = ["video/webm;codecs=vp8,opus", "video/webm;codecs=vp9,opus", "video/webm"];
const SLICE_MS = 100;
const KEY_FRAME_MS = 1000; // a recording can be entered at key frames only
const FLOOR_DB = -60; // shown as no sound at all
const READ_MS = 500; // screen readers need no more than this
const SILENT = 0.02; // of full scale; a microphone that is on is never as quiet
const SILENT_MS = 5000;

/** The sound of a stream in the browser's audio graph: how loud it is, and where recordings tap it. */
export class Sound {
  /** @param {AudioContext} context @param {MediaStreamAudioSourceNode} source */
  constructor(context, source) {
    this.context = context;
    this.source = source;
    this.analyser = context.createAnalyser();
    this.analyser.fftSize = 1024;
    this.window = new Float32Array(this.analyser.fftSize);
    source.connect(this.analyser);
  }

  /** @param {MediaStream} stream */
  static async of(stream) {
    const { context, source } = connected(stream);
    await context.resume();
    return new Sound(context, source);
  }

  /** How loud it is now: 0 for silence, 1 for the loudest there can be. */
  level() {
    this.analyser.getFloatTimeDomainData(this.window);
    const power = this.window.reduce((sum, sample) => sum + sample * sample, 0) / this.window.length;
    return Math.min(1, Math.max(0, 1 - (10 * Math.log10(power + 1e-12)) / FLOOR_DB));
  }

  async close() {
    this.source.disconnect();
    await this.context.close();
  }
}

/**
 * A context at our sample rate; where the browser cannot bring a microphone into one, at the microphone's own.
 * @param {MediaStream} stream
 */
function connected(stream) {
  try {
    const context = new AudioContext({ sampleRate: SAMPLE_RATE });
    try {
      return { context, source: context.createMediaStreamSource(stream) };
    } catch (error) {
      void context.close();
      throw error;
    }
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    const context = new AudioContext();
    return { context, source: context.createMediaStreamSource(stream) };
  }
}

/** The level meter: how loud it is, and whether anything comes at all. */
export class Level {
  #frame = 0;
  #readAt = 0;
  #heardAt = 0;

  /** @param {HTMLElement} meter @param {(silent: boolean) => void} silent tells when nothing has come for a while */
  constructor(meter, silent) {
    this.meter = meter;
    this.bar = /** @type {HTMLElement} */ (meter.firstElementChild);
    this.silent = silent;
  }

  /** @param {Sound} sound */
  watch(sound) {
    this.#heardAt = performance.now();
    /** @param {number} now */
    const draw = (now) => {
      this.#frame = requestAnimationFrame(draw);
      this.#show(sound.level(), now);
    };
    this.#frame = requestAnimationFrame(draw);
  }

  stop() {
    cancelAnimationFrame(this.#frame);
    this.bar.style.transform = "scaleX(0)";
    this.#read(0, "off");
    this.silent(false);
  }

  /** @param {number} level 0..1 @param {number} now */
  #show(level, now) {
    this.bar.style.transform = `scaleX(${level.toFixed(3)})`;
    if (level > SILENT) this.#heardAt = now;
    if (now - this.#readAt < READ_MS) return;
    this.#readAt = now;
    this.#read(level, level <= SILENT ? "no sound" : level < 0.35 ? "quiet" : level < 0.9 ? "good" : "very loud");
    this.silent(now - this.#heardAt > SILENT_MS);
  }

  /** @param {number} level @param {string} text */
  #read(level, text) {
    this.meter.setAttribute("aria-valuenow", String(Math.round(100 * level)));
    this.meter.setAttribute("aria-valuetext", text);
  }
}

/** The microphone alone: 16-bit samples; the recording begins when it is made. */
export class MicrophoneRecording {
  tape = new PcmTape(SAMPLE_RATE);
  /** @type {import("./protocol.js").Media} */
  media = { kind: "pcm", sample_rate: SAMPLE_RATE, channels: 1 };

  /** @param {AudioWorkletNode} node @param {() => void} recorded called after every message */
  constructor(node, recorded) {
    this.node = node;
    this.stopped = new Promise((resolve) => {
      node.port.onmessage = ({ data }) => {
        if (data === null) {
          resolve(undefined);
          return;
        }
        // Every machine with a browser of today stores the lower byte first, as the server wants it.
        this.tape.push(new Uint8Array(data.buffer), performance.now());
        recorded();
      };
    });
  }

  /** @param {Sound} sound @param {() => void} recorded */
  static async begin(sound, recorded) {
    await sound.context.audioWorklet.addModule(new URL("pcm_worklet.js", import.meta.url));
    const node = new AudioWorkletNode(sound.context, "pcm", {
      processorOptions: { sample_rate: SAMPLE_RATE, message_samples: (SAMPLE_RATE * MESSAGE_MS) / 1000 },
    });
    sound.source.connect(node).connect(sound.context.destination); // silent; what leads nowhere may not be run
    return new MicrophoneRecording(node, recorded);
  }

  /** Resolves once the last samples are on the tape. */
  async stop() {
    this.node.port.postMessage("end");
    await this.stopped;
    this.node.disconnect();
  }
}

/** The type of recording to make; null where this browser makes none that the server reads. */
export function recordingType() {
  if (typeof MediaRecorder === "undefined") return null;
  return TYPES.find((type) => MediaRecorder.isTypeSupported(type)) ?? null;
}

/** Camera and microphone together: live WebM, both on one clock; the recording begins when it is made. */
export class CameraRecording {
  tape = new WebmTape();
  /** @type {import("./protocol.js").Media} */
  media = { kind: "container" };

  /** @param {MediaStream} stream @param {() => void} recorded called after every slice */
  constructor(stream, recorded) {
    /** @type {MediaRecorderOptions & {videoKeyFrameIntervalDuration: number}} */
    const options = {
      mimeType: recordingType() ?? undefined,
      videoBitsPerSecond: 1_500_000,
      audioBitsPerSecond: 64_000,
      videoKeyFrameIntervalDuration: KEY_FRAME_MS,
    };
    this.recorder = new MediaRecorder(stream, options);
    /** Slices are read one after the other: their order is that of the recording. */
    let read = Promise.resolve();
    this.recorder.ondataavailable = ({ data }) => {
      read = read.then(async () => {
        this.tape.push(new Uint8Array(await data.arrayBuffer()), performance.now());
        recorded();
      });
    };
    this.stopped = new Promise((resolve) => {
      this.recorder.onstop = () => resolve(read);
    });
    this.recorder.start(SLICE_MS);
  }

  /** Resolves once the last slice is on the tape. */
  async stop() {
    if (this.recorder.state !== "inactive") this.recorder.stop();
    await this.stopped;
  }
}
