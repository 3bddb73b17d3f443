/**
 * One live session with the server, over as many WebSockets as it takes.
 *
 * A lost connection is resumed: the server says how far it has heard, and the tape goes on from there. Where the
 * server does not know the session any more (it was restarted), a new one begins at the end of the last final caption.
 */

import { KEPT_S } from "./tape.js";
import { VERSION, codeOfClose, subprotocols } from "./protocol.js";

/** @typedef {import("./protocol.js").ServerEvent} ServerEvent */
/** @typedef {"connecting" | "live" | "lost" | "finishing" | "ended"} State */
/** @typedef {{code: string, message: string}} Problem */
/**
 * @typedef {object} Listener what a connection tells
 * @property {(event: ServerEvent) => void} heard every event once, in order
 * @property {(state: State) => void} changed
 * @property {(begins: number, lost: [start: number, end: number] | null) => void} startedAnew
 *     the server's captions begin anew at `begins`; the stretch `lost` will never be heard
 * @property {() => number} settled the end of the last final caption
 * @property {(waits_s: number, round_trip_ms: number | null) => void} measured
 * @property {(problem: Problem | null) => void} ended for good; null: as it should
 */

const WATERMARK = 256 * 1024; // bytes handed to the socket and not sent yet; more stays on the tape
const PING_MS = 5000;
const SILENCE_MS = 15_000; // the server speaks every second: after so long a silence the connection is dead
const RETRY_MS = [200, 500, 1000, 2000, 4000];
const FIRST_TRIES = 3; // before the server is said not to be there
const GIVE_UP_MS = 120_000; // after the connection was lost
const RELAPSE_MS = 10_000; // a session that fails sooner than this, or finds no room at all, is not begun again
const PASSING = new Set(["unknown_session", "internal", "full"]); // once it has run, worth another try

export class Connection {
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {State} */
  #state = "connecting";
  /** @type {string | null} */
  #resumeToken = null;
  #sent = 0; // position on the tape
  #lastSeq = -1;
  #begun = false; // a session has been had
  #first = true; // it is the first one
  #newSession = false; // the next `started` is of a session after the first
  #begins = 0; // media second at which the current session, or the next one, begins
  #reached = 0; // media second up to which media was sent when the connection was lost
  #finishWanted = false;
  #finished = false;
  /** @type {Problem | null} */
  #error = null;
  #tries = 0;
  #lostAt_ms = 0;
  #startedAt_ms = 0;
  #heardAt_ms = 0;
  /** @type {number | null} */
  #roundTrip_ms = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #pinger;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retry;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #drain;

  /**
   * @param {string} url
   * @param {string} token of the server, empty where it asks for none
   * @param {{model: string, language: string | null, translate: string[], media: import("./protocol.js").Media}} wishes
   * @param {import("./tape.js").Tape} tape
   * @param {Listener} listener
   */
  constructor(url, token, wishes, tape, listener) {
    this.url = url;
    this.token = token;
    this.wishes = wishes;
    this.tape = tape;
    this.listener = listener;
  }

  open() {
    const socket = new WebSocket(this.url, subprotocols(this.token));
    this.#socket = socket;
    this.#error = null;
    socket.onopen = () => socket.send(JSON.stringify(this.#firstMessage()));
    socket.onmessage = (message) => {
      if (socket === this.#socket) this.#heard(JSON.parse(message.data));
    };
    socket.onclose = (close) => {
      if (socket === this.#socket) this.#closed(close.code);
    };
  }

  /** Send what the tape holds, as far as the socket takes it. Call it whenever something was recorded. */
  send() {
    if (this.#state !== "live" && this.#state !== "finishing") return;
    const socket = /** @type {WebSocket} */ (this.#socket);
    if (this.tape.begin > this.#sent) {
      this.#startAnewBecauseLate();
      return;
    }
    for (let bytes; socket.bufferedAmount < WATERMARK && (bytes = this.tape.from(this.#sent)); ) {
      socket.send(/** @type {Uint8Array<ArrayBuffer>} */ (bytes));
      this.#sent += bytes.length;
    }
    const waits_s = this.tape.waited_s(this.#sent - socket.bufferedAmount, performance.now());
    this.listener.measured(socket.bufferedAmount || this.#sent < this.tape.end ? waits_s : 0, this.#roundTrip_ms);
    if (this.#state === "finishing") this.#sendFinish(socket);
  }

  /** Nothing more will be recorded: the last words still come. */
  finish() {
    this.#finishWanted = true;
    if (this.#state !== "live") return;
    this.#change("finishing");
    this.send();
  }

  /** Leave at once; nothing more is told. */
  abandon() {
    this.#change("ended");
    this.#stopTimers();
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
  }

  /** Do not wait for the next try: the network is back. */
  hurry() {
    if (this.#state !== "lost" || this.#socket) return;
    clearTimeout(this.#retry);
    this.open();
  }

  #firstMessage() {
    if (this.#resumeToken) {
      return { type: "resume", protocol: VERSION, token: this.#resumeToken, after: this.#lastSeq };
    }
    if (this.#begun) {
      this.#begins = this.tape.rewind(this.listener.settled(), performance.now());
      this.#newSession = true;
      this.#lastSeq = -1;
    }
    return { type: "start", protocol: VERSION, ...this.wishes, offset_s: this.#begins };
  }

  /** What no session has heard or will hear. @returns {[start: number, end: number] | null} */
  #neverHeard() {
    const heard = Math.max(this.listener.settled(), this.#reached);
    return this.#begins - heard > 0.01 ? [heard, this.#begins] : null;
  }

  /** @param {ServerEvent} event */
  #heard(event) {
    this.#heardAt_ms = performance.now();
    if ("seq" in event && event.type !== "finished") {
      if (event.seq <= this.#lastSeq) return;
      this.#lastSeq = event.seq;
    }
    switch (event.type) {
      case "started":
        this.#resumeToken = event.token;
        this.#startedAt_ms = performance.now();
        this.#first = !this.#newSession;
        if (this.#newSession) this.listener.startedAnew(this.#begins, this.#neverHeard());
        this.#begun = true;
        this.#newSession = false;
        this.#sent = 0;
        this.#goLive();
        break;
      case "resumed":
        this.#sent = event.received_bytes;
        this.#goLive();
        break;
      case "pong":
        this.#roundTrip_ms = performance.now() - event.id;
        break;
      case "error":
        this.#error = { code: event.code, message: event.message };
        break;
      case "finished":
        this.#finished = true;
        break;
    }
    this.listener.heard(event);
  }

  #goLive() {
    this.#tries = 0;
    this.#lostAt_ms = 0;
    this.#change("live");
    this.#pinger = setInterval(() => this.#ping(), PING_MS);
    this.#ping();
    if (this.#finishWanted) this.#change("finishing");
    this.send();
  }

  #ping() {
    if (performance.now() - this.#heardAt_ms > SILENCE_MS) {
      const dead = this.#socket;
      this.#socket = null;
      dead?.close();
      this.#closed(1006);
      return;
    }
    this.#socket?.send(JSON.stringify({ type: "ping", id: performance.now() }));
  }

  /** @param {WebSocket} socket */
  #sendFinish(socket) {
    clearTimeout(this.#drain);
    if (this.#sent < this.tape.end) {
      this.#drain = setTimeout(() => this.send(), 50); // a socket does not tell when it has room again
      return;
    }
    socket.send(JSON.stringify({ type: "finish" }));
  }

  /** What is to be sent next has been recorded too long ago and is gone: go on with what is there. */
  #startAnewBecauseLate() {
    const late = this.#socket;
    this.#socket = null;
    late?.close(1000);
    this.#resumeToken = null;
    this.#closed(1006);
  }

  /** @param {number} closeCode */
  #closed(closeCode) {
    this.#socket = null;
    this.#stopTimers();
    const now_ms = performance.now();
    const code = this.#error?.code ?? codeOfClose(closeCode);
    if (this.#finished && this.#finishWanted) {
      this.#end(null);
      return;
    }
    const early = now_ms - this.#startedAt_ms < RELAPSE_MS;
    const relapsed = early && (code === "internal" || (code === "full" && this.#first));
    if (code && !(this.#begun && PASSING.has(code) && !relapsed)) {
      this.#end(this.#error ?? { code, message: "" });
      return;
    }
    if (code || this.#finished) this.#resumeToken = null; // that session is over
    this.#finished = false;
    if (!this.#lostAt_ms) {
      this.#lostAt_ms = now_ms;
      this.#reached = this.tape.timeAt(this.#sent);
    }
    if (now_ms - this.#lostAt_ms > KEPT_S * 1000) this.#resumeToken = null;
    this.#tries += 1;
    const hopeless = this.#begun ? now_ms - this.#lostAt_ms > GIVE_UP_MS : this.#tries >= FIRST_TRIES;
    if (hopeless) {
      this.#end({ code: this.#begun ? "lost" : "unreachable", message: "" });
      return;
    }
    this.#change(this.#begun ? "lost" : "connecting");
    this.#retry = setTimeout(() => this.open(), RETRY_MS[Math.min(this.#tries, RETRY_MS.length) - 1]);
  }

  /** @param {Problem | null} problem */
  #end(problem) {
    this.#change("ended");
    this.listener.ended(problem);
  }

  /** @param {State} state */
  #change(state) {
    if (state === this.#state || this.#state === "ended") return;
    this.#state = state;
    this.listener.changed(state);
  }

  #stopTimers() {
    clearInterval(this.#pinger);
    clearTimeout(this.#retry);
    clearTimeout(this.#drain);
  }
}
