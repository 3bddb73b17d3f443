/** The page: what the buttons do, and who tells whom. */

import { Level } from "./capture.js";
import { Announcer, Scrolling } from "./caption_view.js";
import { canRecord, codeOf, listDevices, rememberDevice } from "./devices.js";
import { byId, clock } from "./elements.js";
import { Figures } from "./figures.js";
import { Keyboard } from "./keyboard.js";
import { LargeView } from "./large_view.js";
import { Listening } from "./listening.js";
import { Notices } from "./notices.js";
import { otherTheme, setTheme, theme } from "./preferences.js";
import { Recordings } from "./recordings.js";
import { Models, askForToken } from "./server.js";
import { Sight } from "./sight.js";
import { Uploads } from "./uploads.js";
import { WordCard } from "./word_card.js";

/** @typedef {import("./connection.js").State} State */
/** @typedef {import("./recordings.js").Recording} Recording */

const SLOW_S = 2; // sound that waits longer than this to be sent is worth a word
const FAST_S = 0.5; // and the word is taken back

/** @type {Record<State, string>} */
const STATES = {
  connecting: "Connecting…",
  live: "Listening",
  lost: "Reconnecting…",
  finishing: "Last words…",
  ended: "Ready",
};

const root = document.documentElement;
const listenButton = byId("listen", HTMLButtonElement);
const stateText = byId("state", HTMLElement);
const elapsedText = byId("elapsed", HTMLElement);
const microphones = byId("microphone", HTMLSelectElement);
const cameras = byId("camera", HTMLSelectElement);
const clearButton = byId("clear", HTMLButtonElement);

const notices = new Notices(byId("notices", HTMLElement));
const announcer = new Announcer(byId("announcer", HTMLElement));
const scrolling = new Scrolling(byId("scroll", HTMLElement), byId("newest", HTMLButtonElement));
const wordCard = new WordCard(byId("word-card", HTMLElement), byId("scroll", HTMLElement));
const sight = new Sight();
const figures = new Figures();
const level = new Level(byId("level", HTMLElement), (silent) => {
  if (silent) notices.show("sound", "silent");
  else notices.clear("sound");
});
const models = new Models(byId("model", HTMLSelectElement), byId("language", HTMLSelectElement));
const recordings = new Recordings(byId("sections", HTMLElement), (line) => {
  announcer.announce(line);
  wordCard.keepReachable();
  scrolling.follow();
});
const uploads = new Uploads({ begin, models, notices, askAgain });
const largeView = new LargeView(() => scrolling.toEnd());

/** @type {Listening | null} */
let listening = null;
/** @type {Recording | null} */
let current = null;
let opening = false;

/** @param {string} title @param {string[]} targets languages that it is translated into */
function begin(title, targets) {
  byId("empty", HTMLElement).hidden = true;
  clearButton.hidden = false;
  const recording = recordings.add(title, targets);
  scrolling.toEnd();
  return recording;
}

async function start() {
  if (opening) return;
  if (!canRecord()) {
    notices.show("microphone", "insecure");
    return;
  }
  opening = true;
  for (const subject of ["microphone", "camera", "session", "network"]) notices.clear(subject);
  const wishes = { microphone: microphones.value, camera: cameras.value, ...models.wishes };
  try {
    const watching = {
      /** @type {import("./listening.js").Watching["opened"]} */
      opened: (stream, camera, sound) => opened(stream, camera, sound, wishes.translate),
      withoutCamera,
      unplugged,
    };
    listening = await Listening.begin(wishes, watching, listener());
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    notices.show("microphone", codeOf(error));
    level.stop();
  } finally {
    opening = false;
  }
}

/**
 * @param {MediaStream} stream @param {boolean} camera @param {import("./capture.js").Sound} sound
 * @param {string[]} targets languages that it is translated into
 */
function opened(stream, camera, sound, targets) {
  const time = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  current = begin(`${camera ? "Camera" : "Microphone"}, ${time}`, targets);
  root.dataset.listening = "";
  listenButton.textContent = "Stop";
  show("connecting");
  level.watch(sound);
  if (camera) sight.show(stream);
  void listDevices(microphones, cameras); // their names are known now
}

/** @param {string} code */
function withoutCamera(code) {
  notices.show("camera", `camera_${code}`);
}

/** @param {string} code */
function unplugged(code) {
  notices.show("microphone", code);
  void stop();
}

async function stop() {
  level.stop();
  await listening?.stop();
}

/** The button: start; stop; and, where the last words do not come, stop waiting for them. */
function startOrStop() {
  if (!listening) void start();
  else if (stateText.dataset.state === "finishing" || stateText.dataset.stopping) void ended(null);
  else {
    stateText.dataset.stopping = "true";
    void stop();
  }
}

/** @returns {import("./connection.js").Listener} */
function listener() {
  return {
    heard: (event) => {
      if (event.type === "sight") sight.heard(event);
      else if (event.type === "statistics") {
        figures.told(event);
        elapsedText.textContent = clock(event.received_s);
      } else if (event.type === "started") figures.started(event);
      else current?.transcript.heard(event);
    },
    changed: show,
    startedAnew: (begins, lost) => {
      current?.transcript.startedAnew(begins);
      if (lost) current?.transcript.gap(lost[0], lost[1], "audio", "the connection was away for too long");
    },
    settled: () => current?.transcript.settled ?? 0,
    measured: (waits_s, round_trip_ms) => {
      figures.measured(waits_s, round_trip_ms);
      if (waits_s > SLOW_S) notices.show("network", "slow");
      else if (waits_s < FAST_S) notices.clear("network");
    },
    ended: (problem) => void ended(problem),
  };
}

/** @param {State} state */
function show(state) {
  stateText.textContent = STATES[state];
  stateText.dataset.state = state;
  if (state === "lost") notices.show("session", "reconnecting");
  if (state === "live") notices.clear("session");
}

/** @param {import("./connection.js").Problem | null} problem */
async function ended(problem) {
  const over = listening;
  listening = null;
  current?.ended();
  current = null;
  delete root.dataset.listening;
  delete stateText.dataset.stopping;
  listenButton.textContent = "Start";
  elapsedText.textContent = "";
  show("ended");
  level.stop();
  sight.hide();
  notices.clear("network");
  notices.clear("session");
  if (problem) await explain(problem);
  await over?.abandon();
}

/** @param {import("./connection.js").Problem} problem */
async function explain(problem) {
  // A server that turns us away before the WebSocket is open cannot tell a browser why: ask it in plain HTTP.
  const code = problem.code === "unreachable" ? ((await models.load()) ?? "unreachable") : problem.code;
  if (code === "unauthorized") askAgain(() => void start());
  else notices.show("session", code, problem.message, { label: "Try again", run: () => void start() });
}

/** Ask for the token, and do again what could not be done without it. @param {() => void} again */
function askAgain(again) {
  notices.show("session", "unauthorized", "", { label: "Give a token", run: () => askAgain(again) });
  askForToken(() => {
    notices.clear("session");
    void models.load();
    again();
  });
}

function clear() {
  recordings.clear(current ? [current] : []);
  const nothing = recordings.all.length === 0;
  byId("empty", HTMLElement).hidden = !nothing;
  clearButton.hidden = nothing;
}

function askToClear() {
  const dialog = byId("clear-dialog", HTMLDialogElement);
  if (recordings.saved) clear();
  else dialog.showModal();
  dialog.onclose = () => {
    if (dialog.returnValue === "clear") clear();
    dialog.returnValue = "";
  };
}

/** @param {string} chosen */
function changeTheme(chosen) {
  setTheme(chosen);
  byId("theme", HTMLSelectElement).value = chosen;
}

listenButton.onclick = startOrStop;
clearButton.onclick = askToClear;
microphones.onchange = () => rememberDevice(microphones, "microphone");
cameras.onchange = () => rememberDevice(cameras, "camera");
byId("theme", HTMLSelectElement).value = theme();
byId("theme", HTMLSelectElement).onchange = () => changeTheme(byId("theme", HTMLSelectElement).value);
byId("legend-lips", HTMLElement).style.setProperty("--share", "60%");

new Keyboard(
  [
    { key: "s", what: "Start or stop listening", run: startOrStop },
    { key: "l", what: "Captions alone, large", run: () => largeView.toggle() },
    { key: "+", what: "Larger text in the large view", run: () => largeView.scale(1) },
    { key: "-", shown: "−", what: "Smaller text in the large view", run: () => largeView.scale(-1) },
    { key: "d", what: "Dark or light", run: () => changeTheme(otherTheme()) },
    { key: "u", what: "Caption a file", run: () => uploads.choose() },
    { key: "t", what: "Languages to translate into", run: () => models.chooseTargets() },
  ],
  () => (wordCard.shown ? wordCard.hide() : largeView.leave()),
);

addEventListener("online", () => listening?.connection.hurry());
addEventListener("beforeunload", (event) => {
  if (listening) event.preventDefault(); // the browser asks whether to leave
});
navigator.mediaDevices?.addEventListener("devicechange", () => void listDevices(microphones, cameras));
void listDevices(microphones, cameras);

const problem = await models.load();
if (problem === "unauthorized") askAgain(() => undefined);
else if (problem) notices.show("session", problem);
