/** The page of the HTTP routes: openapi.json, readable. */

import { byId } from "./elements.js";
import { setToken, token } from "./preferences.js";
import { address, authorization } from "./protocol.js";

/** @typedef {Record<string, any>} Schema an object of OpenAPI */

/** @param {string} tag @param {string} text @param {string} [style] a class */
function element(tag, text, style = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (style) made.className = style;
  return made;
}

/** What a value may be, in a few words. @param {Schema} schema */
function kindOf(schema) {
  const types = [schema.type ?? schema.anyOf?.map((/** @type {Schema} */ one) => one.type) ?? "any"].flat().join(" or ");
  const choices = (schema.items ?? schema).enum?.join(", ");
  const kind = schema.format === "binary" ? "file" : types;
  const preset = schema.default === undefined ? "" : `; default ${JSON.stringify(schema.default)}`;
  return `${kind}${choices ? `: ${choices}` : ""}${preset}`;
}

/** Terms and what they mean. @param {string} title @param {[string, string][]} rows */
function listed(title, rows) {
  const list = document.createElement("dl");
  for (const [term, meaning] of rows) list.append(element("dt", term), element("dd", meaning));
  return rows.length ? [element("h4", title), list] : [];
}

/** @param {Schema} operation */
function fieldsOf(operation) {
  const bodies = Object.values(operation.requestBody?.content ?? {});
  return bodies.flatMap(({ schema }) =>
    Object.entries(schema.properties ?? {}).map(([name, field]) => {
      const needed = schema.required?.includes(name) ? " (required)" : "";
      return /** @type {[string, string]} */ ([name, `${kindOf(field)}${needed}. ${field.description ?? ""}`]);
    }),
  );
}

/** @param {string} method @param {string} path @param {Schema} operation */
function route(method, path, operation) {
  const heading = document.createElement("h3");
  heading.append(element("span", method.toUpperCase(), "method"), element("span", path));
  /** @type {[string, string][]} */
  const parameters = (operation.parameters ?? []).map((/** @type {Schema} */ one) => [one.name, kindOf(one.schema ?? {})]);
  /** @type {[string, string][]} */
  const answers = Object.entries(operation.responses ?? {}).map(([status, { description, content }]) => [
    status,
    `${description}${status === "200" && content ? ` (${Object.keys(content).join(", ")})` : ""}`,
  ]);
  const box = element("article", "", "route");
  box.append(
    heading,
    element("p", operation.description ?? operation.summary ?? ""),
    ...listed("Parameters", parameters),
    ...listed("Fields of the form", fieldsOf(operation)),
    ...listed("Answers", answers),
  );
  return box;
}

/** @param {Schema} described */
function show(described) {
  /** @type {Map<string, HTMLElement[]>} */
  const groups = new Map();
  for (const [path, operations] of Object.entries(described.paths))
    for (const [method, operation] of Object.entries(operations)) {
      const name = operation.tags?.[0] ?? "other";
      groups.set(name, [...(groups.get(name) ?? []), route(method, path, /** @type {Schema} */ (operation))]);
    }
  const parts = [...groups].flatMap(([name, routes]) => [element("h2", name), ...routes]);
  byId("routes", HTMLElement).replaceChildren(...parts);
}

async function load() {
  const problem = byId("problem", HTMLElement);
  const form = byId("token-form", HTMLFormElement);
  const response = await fetch(address("openapi.json"), { headers: authorization(token()) });
  form.hidden = response.status !== 401;
  problem.hidden = response.ok || (response.status === 401 && !token());
  problem.textContent = response.status === 401 ? "The server does not know this token." : `The server says ${response.status}.`;
  if (response.ok) show(await response.json());
}

byId("token-form", HTMLFormElement).onsubmit = (event) => {
  event.preventDefault();
  setToken(byId("token", HTMLInputElement).value.trim());
  load();
};
load();
