/**
 * The live protocol as the page speaks it; docs/protocol.md describes it. All times are media seconds.
 *
 * @typedef {{word: string, start: number, end: number, confidence: number | null, video: number}} Word
 *     `confidence` and `video` (how far lips contributed) are 0..1
 * @typedef {{type: "caption", seq: number, index: number, final: boolean, start: number, end: number,
 *     language: string | null, stable: Word[], unstable: Word[]}} CaptionEvent
 * @typedef {{type: "translation", seq: number, index: number, final: boolean, start: number, end: number,
 *     target: string, stable: Word[], unstable: Word[]}} TranslationEvent of the caption with the same index
 * @typedef {{type: "gap", seq: number, start: number, end: number, medium: "audio" | "video", reason: string}} GapEvent
 * @typedef {[left: number, top: number, width: number, height: number]} Box pixels of the picture
 * @typedef {{type: "sight", time: number, width: number, height: number, face: Box | null, mouth: Box | null,
 *     quality: number, speaking: number}} SightEvent
 * @typedef {{p50: number | null, p95: number | null}} Percentiles
 * @typedef {{type: "statistics", received_bytes: number, received_s: number, reached_s: number, lag_ms: number | null,
 *     dropped_s: number, emission_ms: Percentiles, commit_ms: Percentiles}} StatisticsEvent
 * @typedef {{type: "started", session: string, token: string, model: string, language: string | null,
 *     translate: string[], targets: string[], resume_s: number}} StartedEvent
 * @typedef {{type: "resumed", session: string, received_bytes: number}} ResumedEvent
 * @typedef {{type: "pong", id: number}} PongEvent
 * @typedef {{type: "finished", seq: number}} FinishedEvent
 * @typedef {{type: "error", code: string, message: string}} ErrorEvent
 * @typedef {CaptionEvent | TranslationEvent | GapEvent | SightEvent | StatisticsEvent | StartedEvent | ResumedEvent
 *     | PongEvent | FinishedEvent | ErrorEvent} ServerEvent
 *
 * @typedef {{kind: "pcm", sample_rate: number, channels: 1} | {kind: "container"}} Media
 */

export const VERSION = 1;
const SUBPROTOCOL = "mmstream.v1";

/** What a close code means where no error event came before it. @type {Record<number, string>} */
const CLOSE_CODES = {
  4400: "bad_message",
  4401: "unauthorized",
  4403: "forbidden_origin",
  4404: "unknown_session",
  4408: "too_long",
  4409: "already_connected",
  4413: "too_large",
  4415: "bad_media",
  4429: "full",
};

/**
 * The subprotocols to offer. A browser cannot set headers of a WebSocket, so the token travels as one of them.
 * @param {string} token empty where there is none
 */
export function subprotocols(token) {
  return token ? [SUBPROTOCOL, `mmstream.token.${base64url(token)}`] : [SUBPROTOCOL];
}

/**
 * The code of an error for a WebSocket's close code; null for a connection that was just lost.
 * @param {number} closeCode
 */
export function codeOfClose(closeCode) {
  return CLOSE_CODES[closeCode] ?? null;
}

/** @param {string} path below the page, such as "v1/live" @param {"ws" | "http"} scheme */
export function address(path, scheme = "http") {
  const url = new URL(path, document.baseURI);
  if (scheme === "ws") url.protocol = url.protocol.replace("http", "ws");
  return url.href;
}

/** @param {string} token */
export function authorization(token) {
  /** @type {Record<string, string>} */
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  return headers;
}

/** @param {string} text */
function base64url(text) {
  const bytes = new TextEncoder().encode(text);
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
