/** Messages at the top of the page: one a subject, read out at once, there until they are over or put away. */

import { element } from "./elements.js";

/** @typedef {{title: string, text: string}} Message */

/** What happened, and what the person in front of it can do, by code. @type {Record<string, Message>} */
const MESSAGES = {
  denied: {
    title: "The microphone is not allowed",
    text: "Click the symbol beside the page's address, allow the microphone, and press Start again.",
  },
  no_device: {
    title: "No microphone found",
    text: "Plug one in, or turn it on in the system's settings, and press Start again.",
  },
  device_busy: {
    title: "The microphone cannot be opened",
    text: "Another program may be using it. Close that program, or choose another microphone.",
  },
  insecure: {
    title: "This browser gives no microphone to this address",
    text: "Browsers allow microphones over https, or on the server's own machine as http://localhost. Files work here.",
  },
  camera_denied: {
    title: "Going on without the camera",
    text: "It is not allowed. Click the symbol beside the page's address, allow the camera, and start again.",
  },
  camera_no_device: { title: "Going on without a camera", text: "None was found." },
  camera_device_busy: {
    title: "Going on without the camera",
    text: "It cannot be opened; another program may be using it.",
  },
  camera_unsupported: {
    title: "Going on without the camera",
    text: "This browser cannot record pictures and sound in a form that the server reads.",
  },
  unplugged: {
    title: "The microphone is gone",
    text: "It was unplugged or taken away. What was said until then is captioned.",
  },
  camera_unplugged: { title: "The camera is gone", text: "It was unplugged or taken away. What was said is captioned." },
  silent: {
    title: "No sound comes from the microphone",
    text: "It may be muted, or another one may be meant. The level shows what arrives.",
  },
  full: {
    title: "The server is full",
    text: "It serves as many people as it can at the moment. Try again in a minute.",
  },
  too_many: {
    title: "Too many at once",
    text: "This token or address has as many sessions as it may have. Stop another one, or wait a minute.",
  },
  unauthorized: { title: "A token is needed", text: "The server lets in only those who have one." },
  forbidden_origin: {
    title: "The server does not serve this address",
    text: "It was told to answer pages from other addresses only. Open the address that it printed when it started.",
  },
  unreachable: {
    title: "The server does not answer",
    text: "It may have been stopped, or the network may be down. Captions so far are kept.",
  },
  lost: {
    title: "The connection is lost",
    text: "The server could not be reached again for two minutes. Captions so far are kept.",
  },
  reconnecting: {
    title: "Connection lost; trying again",
    text: "Go on speaking: the last 30 seconds are kept and sent as soon as the server answers.",
  },
  slow: {
    title: "The network or the server is too slow",
    text: "Captions come late. A better network, or no camera, will help.",
  },
  idle: { title: "The server has ended the session", text: "Nothing had come for a long time." },
  too_long: { title: "The server has ended the session", text: "It was as long as sessions may be. Press Start to go on." },
  already_connected: { title: "Gone on elsewhere", text: "This session goes on in another tab or program." },
  unknown_model: { title: "The server does not have that model", text: "Choose another one." },
  unknown_language: { title: "The model does not know that language", text: "Choose another one." },
  unknown_target: { title: "The server does not translate into that language", text: "Choose another one." },
  bad_media: { title: "The server cannot read what was sent", text: "It is not sound or video of a kind that it knows." },
  invalid_file: { title: "The server cannot read this file", text: "It is not sound or video of a kind that it knows." },
  too_large: { title: "The file is too large", text: "The server takes smaller ones only." },
  shutting_down: { title: "The server is about to stop", text: "Try again in a moment." },
  upload_failed: { title: "The file did not get through", text: "The connection was lost. Try again." },
  internal: { title: "Something went wrong in the server", text: "Captions so far are kept. Press Start to go on." },
};

export class Notices {
  /** @type {Map<string, HTMLElement>} */
  #shown = new Map();

  /** @param {HTMLElement} place */
  constructor(place) {
    this.place = place;
  }

  /**
   * @param {string} subject a later message on the same subject takes the place of this one
   * @param {string} code of MESSAGES @param {string} [detail]
   * @param {{label: string, run: () => void}} [action] what can be done about it
   */
  show(subject, code, detail, action) {
    const { title, text } = messageFor(code, detail);
    if (this.#shown.get(subject)?.dataset.code === code) return;
    this.clear(subject);
    const words = element("div", {}, [element("strong", {}, [title]), element("span", {}, [text])]);
    const buttons = [];
    if (action) {
      const button = element("button", { type: "button" }, [action.label]);
      button.onclick = action.run;
      buttons.push(button);
    }
    const away = element("button", { type: "button" }, ["Dismiss"]);
    away.onclick = () => this.clear(subject);
    const notice = element("div", { class: "notice" }, [words, ...buttons, away]);
    notice.dataset.code = code;
    this.#shown.set(subject, notice);
    this.place.append(notice);
  }

  /** @param {string} subject */
  clear(subject) {
    this.#shown.get(subject)?.remove();
    this.#shown.delete(subject);
  }
}

/**
 * @param {string} code of an error event, or of the page's own
 * @param {string} [detail] what the server says, for a code that the page does not know
 * @returns {Message}
 */
function messageFor(code, detail = "") {
  return MESSAGES[code] ?? { title: "The server says no", text: detail || code };
}
