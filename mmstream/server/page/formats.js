/**
 * Captions, or their translations, as the text of files. Only final ones go into a file.
 *
 * Words are cut into cues as operators/sinks/cues.py does it: short lines, breaks where speech breaks. Both give the
 * same files for the same captions.
 */

import { separator } from "./captions.js";

/** @typedef {import("./captions.js").Line} Line */
/** @typedef {import("./protocol.js").Word} Word */
/** @typedef {{stable: Word[], unstable: Word[]}} Said */
/** @typedef {{start_ms: number, end_ms: number, text: string}} Cue lines of `text` are joined by newlines */

const LINE_CHARS = 42; // columns: a wide character (Chinese, Japanese, Korean) takes two
const LINES = 2;
const LONGEST_S = 7;
const FULL_PAUSE_S = 0.5; // a silence of this length is as good a place to break as the end of a sentence
const LONG_PAUSE_S = 1.5; // a cue that runs across such a silence gives away what is yet to be said
const SENTENCE_END = /[.!?…。！？]$/u;
const CLAUSE_END = /[,;:、，]$/u;
const WIDE = /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;
const SHORTEST_S = 0.8; // what the eye needs to find a cue, however short it is
const READING_CPS = 17; // characters a second

/** By the end of the file's name. @type {Record<string, {type: string, write: (lines: Line[]) => string}>} */
export const FORMATS = {
  srt: { type: "application/x-subrip", write: toSrt },
  vtt: { type: "text/vtt", write: toVtt },
  txt: { type: "text/plain", write: toText },
  json: { type: "application/json", write: toJson },
};

/** SubRip. @param {Line[]} lines */
export function toSrt(lines) {
  return cuesOf(lines)
    .map((cue, at) => `${at + 1}\n${clock(cue.start_ms, ",")} --> ${clock(cue.end_ms, ",")}\n${cue.text}\n\n`)
    .join("");
}

/** WebVTT. @param {Line[]} lines */
export function toVtt(lines) {
  /** @param {string} text */
  const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const cues = cuesOf(lines).map(
    (cue, at) => `${at + 1}\n${clock(cue.start_ms, ".")} --> ${clock(cue.end_ms, ".")}\n${escaped(cue.text)}\n\n`,
  );
  return `WEBVTT\n\n${cues.join("")}`;
}

/** One line a caption. @param {Line[]} lines */
export function toText(lines) {
  return finals(lines).map((line) => `${textOf(line, line.language)}\n`).join("");
}

/** Everything that is known of every word. @param {Line[]} lines */
export function toJson(lines) {
  const captions = finals(lines).map((line) => ({
    start: line.start,
    end: line.end,
    language: line.language,
    text: textOf(line, line.language),
    words: line.stable,
    translations: Object.fromEntries(
      [...line.translations].map(([target, said]) => [target, { text: textOf(said, target), words: said.stable }]),
    ),
  }));
  const gaps = lines.filter((line) => line.kind === "gap").map(({ start, end, medium, reason }) => {
    return { start, end, medium, reason };
  });
  return `${JSON.stringify({ captions, gaps }, null, 2)}\n`;
}

/** @param {Said} said @param {string | null} language */
export function textOf({ stable, unstable }, language) {
  return [...stable, ...unstable].map((word) => word.word).join(separator(language));
}

/** Lines as if they had been said in another language. @param {Line[]} lines @param {string} target @returns {Line[]} */
export function translated(lines, target) {
  return lines.flatMap((line) => {
    if (line.kind === "gap") return [line];
    const said = line.translations.get(target);
    return said?.stable.length ? [{ ...line, ...said, final: line.final && said.final, language: target }] : [];
  });
}

/** @param {Line[]} lines */
function finals(lines) {
  return lines.filter((line) => line.kind === "caption").filter((line) => line.final);
}

/**
 * Cues that never overlap and never go back in time. A cue stands on in the silence that follows, until it can be read.
 * @param {Line[]} lines
 */
function cuesOf(lines) {
  /** @type {Cue[]} */
  const cues = [];
  for (const line of lines) {
    if (line.kind === "caption" && line.final) cues.push(...cutIntoCues(line.stable, separator(line.language)));
    if (line.kind === "gap" && line.medium === "audio") {
      cues.push({ start_ms: ms(line.start), end_ms: ms(line.end), text: "[audio lost]" });
    }
  }
  for (let at = 0; at < cues.length; at++) {
    const [before, cue] = [cues[at - 1], cues[at]];
    if (!before) continue;
    cue.start_ms = Math.max(cue.start_ms, before.start_ms + 1);
    before.end_ms = Math.min(wantedEnd(before), cue.start_ms);
  }
  const last = cues[cues.length - 1];
  if (last) last.end_ms = wantedEnd(last);
  return cues;
}

/** Where a cue would end, did nothing follow. @param {Cue} cue */
function wantedEnd(cue) {
  const toRead_ms = Math.round(1000 * Math.max(SHORTEST_S, [...cue.text].length / READING_CPS));
  return Math.min(Math.max(cue.end_ms, cue.start_ms + toRead_ms), cue.start_ms + 1000 * LONGEST_S);
}

/** @param {number} seconds */
function ms(seconds) {
  return Math.max(0, Math.round(1000 * seconds));
}

/** "01:02:03,456". @param {number} time_ms @param {string} point */
function clock(time_ms, point) {
  /** @param {number} value @param {number} digits */
  const padded = (value, digits) => String(Math.floor(value)).padStart(digits, "0");
  const seconds = time_ms / 1000;
  return `${padded(seconds / 3600, 2)}:${padded((seconds / 60) % 60, 2)}:${padded(seconds % 60, 2)}${point}${padded(time_ms % 1000, 3)}`;
}

/**
 * Cues for the words of one caption: every word in one cue, in order. Of all cuts the cheapest is taken.
 * @param {Word[]} all @param {string} separator
 * @returns {Cue[]}
 */
export function cutIntoCues(all, separator) {
  const words = all.filter((word) => word.word.trim());
  /** @type {{cost: number, cut: number}[]} the best way to cut what begins at each word */
  const best = Array.from({ length: words.length + 1 }, () => ({ cost: 0, cut: words.length }));
  for (let first = words.length - 1; first >= 0; first--) {
    let cheapest = { cost: Infinity, cut: words.length };
    for (let cut = first + 1; cut <= words.length; cut++) {
      if (cut > first + 1 && !fits(words.slice(first, cut), separator)) break;
      const cost = costOf(words, first, cut, separator) + best[cut].cost;
      if (cost < cheapest.cost) cheapest = { cost, cut };
    }
    best[first] = cheapest;
  }
  const cues = [];
  for (let first = 0; first < words.length; first = best[first].cut) {
    cues.push(cueOf(words.slice(first, best[first].cut), separator));
  }
  return cues;
}

/** @param {string} text in columns */
function width(text) {
  return [...text].reduce((sum, char) => sum + (WIDE.test(char) ? 2 : 1), 0);
}

/** Lines filled one after the other. @param {string[]} texts @param {number} columns @param {string} separator */
function fill(texts, columns, separator) {
  /** @type {string[]} */
  const lines = [];
  for (const text of texts) {
    const last = lines.length - 1;
    if (last >= 0 && width(lines[last] + separator + text) <= columns) lines[last] += separator + text;
    else lines.push(...chop(text, columns));
  }
  return lines;
}

/** A text too long for a line, in pieces. @param {string} text @param {number} columns */
function chop(text, columns) {
  const pieces = [""];
  for (const char of text) {
    if (width(pieces[pieces.length - 1] + char) > columns) pieces.push("");
    pieces[pieces.length - 1] += char;
  }
  return pieces;
}

/** As few lines as can be, of lengths as even as can be. @param {string[]} texts @param {string} separator */
function wrap(texts, separator) {
  const count = fill(texts, LINE_CHARS, separator).length;
  for (let columns = Math.min(LINE_CHARS, Math.max(...texts.map(width))); columns < LINE_CHARS; columns++) {
    const lines = fill(texts, columns, separator);
    if (lines.length <= count) return lines;
  }
  return fill(texts, LINE_CHARS, separator);
}

/** @param {Word[]} words @param {string} separator */
function fits(words, separator) {
  if (words[words.length - 1].end - words[0].start > LONGEST_S) return false;
  const texts = words.map((word) => word.word);
  return fill(texts, LINE_CHARS, separator).length <= LINES;
}

/**
 * What a cue of words[first..cut] costs: 1; up to 1 for a cut in mid-phrase, and for room left; a half for a sentence
 * that ends within it; 2 for a silence within it.
 * @param {Word[]} words @param {number} first @param {number} cut @param {string} separator
 */
function costOf(words, first, cut, separator) {
  const cue = words.slice(first, cut);
  const filled = Math.min(1, width(cue.map((word) => word.word).join(separator)) / (LINE_CHARS * LINES));
  let cost = 1 + (1 - filled) ** 2;
  if (cut < words.length) cost += roughness(words[cut - 1], words[cut]);
  for (let at = 1; at < cue.length; at++) {
    if (SENTENCE_END.test(cue[at - 1].word)) cost += 0.5;
    if (cue[at].start - cue[at - 1].end > LONG_PAUSE_S) cost += 2;
  }
  return cost;
}

/** 0 where speech itself breaks, 1 in the middle of a phrase. @param {Word} before @param {Word} after */
function roughness(before, after) {
  if (SENTENCE_END.test(before.word)) return 0;
  const pause = 1 - Math.min(1, Math.max(0, after.start - before.end) / FULL_PAUSE_S);
  return CLAUSE_END.test(before.word) ? Math.min(0.5, pause) : pause;
}

/** @param {Word[]} words @param {string} separator @returns {Cue} */
function cueOf(words, separator) {
  return {
    start_ms: Math.max(0, Math.round(1000 * words[0].start)),
    end_ms: Math.max(0, Math.round(1000 * words[words.length - 1].end)),
    text: wrap(words.map((word) => word.word), separator).join("\n"),
  };
}
