/** One live recording, from the microphone to the captions, until it is stopped or cannot go on. */

import { CameraRecording, MicrophoneRecording, Sound, recordingType } from "./capture.js";
import { Connection } from "./connection.js";
import { OFF, openDevices } from "./devices.js";
import { address } from "./protocol.js";
import { token } from "./preferences.js";

/**
 * @typedef {object} Wishes
 * @property {string} microphone
 * @property {string} camera
 * @property {string} model
 * @property {string} language
 * @property {string[]} translate languages that it is translated into
 */
/**
 * @typedef {object} Watching what a recording tells
 * @property {(stream: MediaStream, camera: boolean, sound: Sound) => void} opened
 * @property {(code: string) => void} withoutCamera
 * @property {(code: string) => void} unplugged
 */

export class Listening {
  #stopping = false;
  /** @type {WakeLockSentinel | null} */
  #awake = null;

  /**
   * @param {MediaStream} stream @param {Sound} sound @param {MicrophoneRecording | CameraRecording} recording
   * @param {Connection} connection
   */
  constructor(stream, sound, recording, connection) {
    this.stream = stream;
    this.sound = sound;
    this.recording = recording;
    this.connection = connection;
  }

  /**
   * Open the devices and begin. Recording does not wait for the connection: nothing that is said is lost.
   * @param {Wishes} wishes @param {Watching} watching @param {import("./connection.js").Listener} listener
   * @throws {DOMException} the microphone cannot be had
   */
  static async begin(wishes, watching, listener) {
    const filmed = wishes.camera !== OFF && recordingType() !== null;
    if (wishes.camera !== OFF && !filmed) watching.withoutCamera("unsupported");
    const opened = await openDevices(wishes.microphone, filmed ? wishes.camera : OFF);
    if (opened.withoutCamera) watching.withoutCamera(opened.withoutCamera);
    const { stream, camera } = opened;
    const sound = await Sound.of(stream);
    /** @type {Connection | undefined} */
    let connection;
    const recorded = () => connection?.send();
    const recording = camera
      ? new CameraRecording(stream, recorded)
      : await MicrophoneRecording.begin(sound, recorded);
    connection = new Connection(
      address("v1/live", "ws"),
      token(),
      {
        model: wishes.model,
        language: wishes.language || null,
        translate: wishes.translate,
        media: recording.media,
      },
      recording.tape,
      listener,
    );
    const listening = new Listening(stream, sound, recording, connection);
    for (const track of stream.getTracks()) {
      track.onended = () => watching.unplugged(track.kind === "audio" ? "unplugged" : "camera_unplugged");
    }
    watching.opened(stream, camera, sound);
    connection.open();
    void listening.#stayAwake();
    return listening;
  }

  /** Stop recording; the last words still come. */
  async stop() {
    if (this.#stopping) return;
    this.#stopping = true;
    await this.recording.stop();
    this.connection.finish();
    await this.#release();
  }

  /** End at once, for whatever reason. */
  async abandon() {
    this.connection.abandon();
    if (this.#stopping) return;
    this.#stopping = true;
    await this.recording.stop();
    await this.#release();
  }

  async #release() {
    for (const track of this.stream.getTracks()) {
      track.onended = null;
      track.stop();
    }
    await this.sound.close();
    await this.#awake?.release();
  }

  /** A screen that turns itself off would stop the recording on a phone, and end the show on a projector. */
  async #stayAwake() {
    try {
      this.#awake = (await navigator.wakeLock?.request("screen")) ?? null;
    } catch (error) {
      if (!(error instanceof DOMException)) throw error; // not allowed: then it does not
    }
    if (this.#stopping) await this.#awake?.release();
  }
}
