/** The figures beside the captions. */

import { byId } from "./elements.js";

/** @typedef {import("./protocol.js").Percentiles} Percentiles */

export class Figures {
  #emission = byId("emission", HTMLElement);
  #commit = byId("commit", HTMLElement);
  #lag = byId("lag", HTMLElement);
  #dropped = byId("dropped", HTMLElement);
  #roundTrip = byId("round-trip", HTMLElement);
  #waiting = byId("waiting", HTMLElement);
  #recogniser = byId("recogniser", HTMLElement);

  /** @param {import("./protocol.js").StartedEvent} event */
  started(event) {
    const into = event.translate.length ? ` → ${event.translate.join(", ")}` : "";
    this.#recogniser.textContent = (event.language ? `${event.model}, ${event.language}` : event.model) + into;
  }

  /** @param {import("./protocol.js").StatisticsEvent} event */
  told(event) {
    this.#emission.textContent = usualAndSlow(event.emission_ms);
    this.#commit.textContent = usualAndSlow(event.commit_ms);
    this.#lag.textContent = duration(event.lag_ms);
    this.#dropped.textContent = event.dropped_s ? `${event.dropped_s.toFixed(1)} s` : "nothing";
  }

  /** @param {number} waits_s @param {number | null} round_trip_ms */
  measured(waits_s, round_trip_ms) {
    this.#waiting.textContent = waits_s < 0.5 ? "nothing" : `${waits_s.toFixed(1)} s`;
    this.#roundTrip.textContent = duration(round_trip_ms);
  }
}

/** @param {Percentiles | null} percentiles */
function usualAndSlow(percentiles) {
  if (!percentiles || percentiles.p50 === null) return "–";
  return `${duration(percentiles.p50)} (${duration(percentiles.p95)})`;
}

/** @param {number | null} ms */
function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
