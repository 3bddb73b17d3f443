/** The server's plain requests: its models and languages to choose from, and whether it lets us in. */

import { byId } from "./elements.js";
import { remember, remembered, setToken, token } from "./preferences.js";
import { address, authorization } from "./protocol.js";
import { Targets, languageName } from "./translations.js";

/** Of models that know many languages. @type {string[]} */
const LANGUAGES = (
  "ar bg bn ca cs cy da de el en es et eu fa fi fr ga gl gu he hi hr hu hy id is it ja ka kk km kn ko lo lt lv mk ml mn " +
  "mr ms mt my ne nl no pa pl pt ro ru sk sl sq sr sv sw ta te th tl tr uk ur uz vi yue zh"
).split(" ");

/** The choice of model and languages, as the server offers them; hidden where there is nothing to choose. */
export class Models {
  #targets = new Targets();
  /** @type {Model[]} */
  #offered = [];

  /** @param {HTMLSelectElement} model @param {HTMLSelectElement} language */
  constructor(model, language) {
    this.model = model;
    this.language = language;
    model.onchange = () => {
      remember("model", model.value);
      this.#listLanguages();
    };
    language.onchange = () => remember("language", language.value);
  }

  get wishes() {
    return { model: this.model.value, language: this.language.value, translate: this.#targets.chosen };
  }

  /** Ask the server. @returns {Promise<string | null>} the code of what is wrong */
  async load() {
    const { models, problem } = await offeredModels();
    if (problem) return problem;
    this.#offered = models;
    const named = models.filter(({ id }) => id !== "auto").map(({ id }) => new Option(id, id));
    this.model.replaceChildren(new Option("Automatic", "auto"), ...named);
    showChoice(this.model, named.length);
    choose(this.model, remembered("model"));
    this.#listLanguages();
    return null;
  }

  /** Open the list of languages to translate into, or close it. */
  chooseTargets() {
    this.#targets.toggle();
  }

  #listLanguages() {
    const model = this.#offered.find(({ id }) => id === this.model.value);
    const all = model ? [model] : this.#offered;
    const codes = [...new Set(all.flatMap(({ languages }) => (languages === "many" ? LANGUAGES : languages)))];
    const named = codes.map((code) => new Option(languageName(code), code));
    named.sort((one, other) => one.text.localeCompare(other.text));
    this.language.replaceChildren(new Option("Automatic", ""), ...named);
    showChoice(this.language, named.length);
    choose(this.language, remembered("language"));
    this.#targets.offer(all.flatMap(({ translations }) => translations));
  }
}

/** @param {HTMLSelectElement} select @param {number} choices */
function showChoice(select, choices) {
  /** @type {HTMLElement} */ (select.parentElement).hidden = choices < 2;
}

/** @param {HTMLSelectElement} select @param {string | null} value taken where it is there */
function choose(select, value) {
  if ([...select.options].some((option) => option.value === value)) select.value = value ?? "";
}

/**
 * @typedef {{id: string, languages: string, translations: string[]}} Model
 *     `languages`: the code of the one it knows, or "many"; `translations`: of those that it is translated into
 */

/**
 * The models that the server offers.
 * @returns {Promise<{models: Model[], problem: string | null}>} `problem`: a code of a notice
 */
export async function offeredModels() {
  try {
    const response = await fetch(address("v1/models"), { headers: authorization(token()) });
    const problem = problemOf(response.status);
    return problem ? { models: [], problem } : { models: (await response.json()).data, problem };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return { models: [], problem: "unreachable" };
  }
}

/** The code of what an HTTP status means; null for success. @param {number} status */
export function problemOf(status) {
  if (status < 400) return null;
  /** @type {Record<number, string>} */
  const known = { 401: "unauthorized", 403: "forbidden_origin", 413: "too_large", 429: "full", 503: "full" };
  return known[status] ?? (status < 500 ? "refused" : "internal");
}

/** @param {() => void} given */
export function askForToken(given) {
  const dialog = byId("token-dialog", HTMLDialogElement);
  const field = byId("token", HTMLInputElement);
  byId("token-wrong", HTMLElement).hidden = token() === "";
  byId("token-cancel", HTMLButtonElement).onclick = () => dialog.close();
  byId("token-form", HTMLFormElement).onsubmit = () => {
    setToken(field.value.trim());
    field.value = "";
    given();
  };
  if (!dialog.open) dialog.showModal();
}
