/**
 * Runs in the audio thread: what the microphone gives, as messages of 16-bit samples of one channel.
 *
 * Where a browser cannot record at the rate that is asked for, it is resampled here: a windowed-sinc low-pass,
 * evaluated where the new samples lie.
 */

const ZERO_CROSSINGS = 24; // on each side of the filter's middle: pass band flat to 7 kHz, 60 dB down at 9 kHz (16 kHz)
const STEPS = 128; // positions between two samples for which the filter is tabulated; between them it is interpolated
const ROLL_OFF = 0.94; // where the pass band ends, of half the lower rate

export class Resampler {
  #input = new Float32Array(0); // what new samples still need
  #at = 0; // place of the next new sample in #input, in old samples

  /** @param {number} from Hz @param {number} to Hz */
  constructor(from, to) {
    this.step = from / to;
    const cutoff = ROLL_OFF * Math.min(1, to / from);
    this.reach = Math.ceil(ZERO_CROSSINGS / cutoff);
    this.table = tabulated(this.reach, cutoff);
    this.#input = new Float32Array(this.reach); // silence before the beginning
    this.#at = this.reach;
  }

  /** The new samples that `samples` make possible. @param {Float32Array} samples */
  feed(samples) {
    if (this.step === 1) return samples.slice();
    const input = new Float32Array(this.#input.length + samples.length);
    input.set(this.#input);
    input.set(samples, this.#input.length);
    const output = [];
    for (; this.#at + this.reach < input.length; this.#at += this.step) output.push(this.#sample(input, this.#at));
    const used = Math.max(0, Math.floor(this.#at) - this.reach);
    this.#input = input.slice(used);
    this.#at -= used;
    return Float32Array.from(output);
  }

  /** The last samples, which waited for what would follow. */
  flush() {
    return this.step === 1 ? new Float32Array(0) : this.feed(new Float32Array(this.reach));
  }

  /** @param {Float32Array} input @param {number} at */
  #sample(input, at) {
    const whole = Math.floor(at);
    let sum = 0;
    for (let k = whole - this.reach + 1; k <= whole + this.reach; k++) {
      const place = Math.abs(at - k) * STEPS;
      const low = Math.floor(place);
      const share = place - low;
      sum += input[k] * ((1 - share) * this.table[low] + share * this.table[low + 1]);
    }
    return sum;
  }
}

/** One half of the filter, which is symmetric. @param {number} reach samples @param {number} cutoff of the old rate's half */
function tabulated(reach, cutoff) {
  const table = new Float32Array(reach * STEPS + 2);
  for (let at = 0; at < reach * STEPS; at++) {
    const x = at / STEPS;
    const sinc = x === 0 ? 1 : Math.sin(Math.PI * x * cutoff) / (Math.PI * x * cutoff);
    const turn = (Math.PI * x) / reach;
    const blackman = 0.42 + 0.5 * Math.cos(turn) + 0.08 * Math.cos(2 * turn);
    table[at] = cutoff * sinc * blackman;
  }
  return table;
}

class Pcm extends AudioWorkletProcessor {
  /** @param {{processorOptions: {sample_rate: number, message_samples: number}}} options */
  constructor({ processorOptions: { sample_rate, message_samples } }) {
    super();
    this.resampler = new Resampler(sampleRate, sample_rate);
    this.message = new Int16Array(message_samples);
    this.filled = 0;
    this.running = true;
    this.port.onmessage = () => this.end();
  }

  /** @param {Float32Array[][]} inputs @returns {boolean} */
  process([channels]) {
    if (this.running && channels.length) this.put(this.resampler.feed(mixed(channels)));
    return this.running;
  }

  /** @param {Float32Array} samples in -1..1 */
  put(samples) {
    for (const sample of samples) {
      this.message[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
      if (this.filled === this.message.length) this.post();
    }
  }

  post() {
    const samples = this.message.slice(0, this.filled);
    this.filled = 0;
    this.port.postMessage(samples, [samples.buffer]);
  }

  /** Give what is left, and say that it was the last. */
  end() {
    if (!this.running) return;
    this.running = false;
    this.put(this.resampler.flush());
    if (this.filled) this.post();
    this.port.postMessage(null);
  }
}

/** @param {Float32Array[]} channels */
function mixed(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, at) => channels.reduce((sum, channel) => sum + channel[at], 0) / channels.length);
}

registerProcessor("pcm", Pcm);
