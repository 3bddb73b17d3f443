/** Microphones and cameras: which there are, which was chosen, and what went wrong in opening one. */

import { remember, remembered } from "./preferences.js";

/** No camera. */
export const OFF = "off";

const SOUND = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true };
const PICTURES = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 25 } };

/** Whether the browser lets this page ask for a microphone at all: over https or from the machine itself. */
export function canRecord() {
  return Boolean(navigator.mediaDevices?.getUserMedia);
}

/**
 * Fill the two selects. Names are known only once a device was allowed; until then there is one entry of each kind.
 * @param {HTMLSelectElement} microphones @param {HTMLSelectElement} cameras
 */
export async function listDevices(microphones, cameras) {
  const devices = canRecord() ? await navigator.mediaDevices.enumerateDevices() : [];
  /** @param {MediaDeviceKind} kind @param {string} fallback */
  const options = (kind, fallback) => {
    const found = devices.filter((device) => device.kind === kind && device.deviceId);
    const named = found.map((device, at) => new Option(device.label || `${fallback} ${at + 1}`, device.deviceId));
    return named.length ? named : [new Option(`Default ${fallback.toLowerCase()}`, "")];
  };
  fill(microphones, options("audioinput", "Microphone"), "microphone");
  fill(cameras, [new Option("Off", OFF), ...options("videoinput", "Camera")], "camera");
}

/** @param {HTMLSelectElement} select @param {HTMLOptionElement[]} options @param {string} name */
function fill(select, options, name) {
  const before = select.options.length ? select.value : remembered(name);
  select.replaceChildren(...options);
  // Before a device was allowed the camera is just "on"; afterwards it is the first one there is.
  const known = options.find((option) => option.value === before);
  const on = before !== null && before !== OFF ? options.find((option) => option.value !== OFF) : undefined;
  select.value = (known ?? on ?? options[0]).value;
}

/** @param {HTMLSelectElement} select @param {string} name */
export function rememberDevice(select, name) {
  remember(name, select.value);
}

/**
 * @typedef {object} Opened
 * @property {MediaStream} stream
 * @property {boolean} camera whether the stream has pictures
 * @property {string | null} withoutCamera the code of why it has none although they were asked for
 */

/**
 * Open the microphone, and the camera unless it is OFF. Without the camera it goes on with sound alone.
 * @param {string} microphone @param {string} camera ids of devices; empty for the browser's own choice
 * @returns {Promise<Opened>}
 * @throws {DOMException} the microphone cannot be had; `codeOf` says why
 */
export async function openDevices(microphone, camera) {
  const audio = { ...SOUND, ...chosen(microphone) };
  if (camera === OFF) return { stream: await open({ audio }), camera: false, withoutCamera: null };
  try {
    const stream = await open({ audio, video: { ...PICTURES, ...chosen(camera) } });
    return { stream, camera: true, withoutCamera: null };
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    const stream = await open({ audio });
    return { stream, camera: false, withoutCamera: codeOf(error) };
  }
}

/** What went wrong, as a code of a notice. @param {DOMException} error */
export function codeOf(error) {
  if (error.name === "NotAllowedError" || error.name === "SecurityError") return "denied";
  if (error.name === "NotFoundError" || error.name === "OverconstrainedError") return "no_device";
  return "device_busy";
}

/** @param {MediaStreamConstraints} constraints */
async function open(constraints) {
  return navigator.mediaDevices.getUserMedia(constraints);
}

/** @param {string} id @returns {MediaTrackConstraints} */
function chosen(id) {
  return id ? { deviceId: { ideal: id } } : {};
}
