// Every string of the page is in words/LANGUAGE.js; a translation is one such file and its line here.
import de from "./words/de.js";
import en from "./words/en.js";
import es from "./words/es.js";
import zh from "./words/zh.js";
import { recall, remember } from "./memory.js";

export const LANGUAGES = { en, de, es, zh };
const wanted = [recall("language"), ...navigator.languages].map((name) => (name || "").slice(0, 2));
let language = wanted.find((name) => name in LANGUAGES) || "en";

export function chosen() {
  return language;
}

export function t(key, values = {}) {
  const text = LANGUAGES[language][key] ?? en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export function choose(name) {
  language = name;
  remember("language", name);
  translate();
}

export function translate() {
  document.documentElement.lang = language;
  document.title = t("title");
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-t-label]")) element.setAttribute("aria-label", t(element.dataset.tLabel));
}
