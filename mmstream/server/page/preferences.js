/** What the page remembers: choices in this browser, the token in this tab only. Loaded first: no theme flashes. */

const PREFIX = "mmstream.";

/** @param {string} name @returns {string | null} */
export function remembered(name) {
  return read(() => localStorage.getItem(PREFIX + name));
}

/** @param {string} name @param {string} value */
export function remember(name, value) {
  read(() => localStorage.setItem(PREFIX + name, value));
}

export function token() {
  return read(() => sessionStorage.getItem(`${PREFIX}token`)) ?? "";
}

/** @param {string} value */
export function setToken(value) {
  read(() => sessionStorage.setItem(`${PREFIX}token`, value));
}

/**
 * A browser may forbid storage altogether; then nothing is remembered.
 * @template T @param {() => T} access @returns {T | null}
 */
function read(access) {
  try {
    return access();
  } catch (error) {
    if (error instanceof DOMException) return null;
    throw error;
  }
}

/** @param {string} theme "system", "light" or "dark" */
export function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  remember("theme", theme);
}

export function theme() {
  return remembered("theme") ?? "system";
}

/** The other one than what is seen now. */
export function otherTheme() {
  const dark = theme() === "dark" || (theme() === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  return dark ? "light" : "dark";
}

document.documentElement.dataset.theme = theme();
