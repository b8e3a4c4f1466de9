// What the page asks of its server. Addresses are relative, so the page also works below another path.
import { t } from "./words.js";

const AGAIN = [0, 408, 429, 503, 507]; // the same may do later
const WORDS = {
  file: "unreadable", parameter: "refused", too_large: "tooLarge", busy: "busy", late: "late", ended: "late", slow: "late",
  token_missing: "tokenMissing", token_wrong: "tokenWrong", no_room: "noRoom", missing: "clipsOff", unreachable: "unreachable", locked: "locked",
};
let token = "";
export const FORMATS = ["jpeg", "png", "tiff", "webp", "avif"]; // that it writes

export function useToken(text) {
  token = text;
}

export class Refused extends Error {
  constructor(status, code, text = "") {
    super(text);
    Object.assign(this, { status, code, again: AGAIN.includes(status) || status === 401 });
  }

  // One sentence for people; what the server said stands behind it where it helps.
  get words() {
    const said = this.message;
    if (/damaged|truncated|incomplete/.test(said)) return t("damaged");
    if (/megapixels/.test(said)) return `${t("tooManyPixels")} (${said})`;
    if (/transparency/.test(said)) return t("transparentJpeg");
    const key = WORDS[this.code] || "refused";
    return key === "unreadable" && !said.includes("is not a picture") ? `${t(key)} (${said})` : t(key, { error: said || this.status });
  }
}

function refusal(status, text) {
  try {
    const problem = JSON.parse(text);
    return new Refused(status, problem.code, problem.error);
  } catch {
    return new Refused(status, "refused");
  }
}

function headers() {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

function later(seconds, signal) {
  return new Promise((go, stop) => {
    setTimeout(go, 1000 * seconds);
    signal?.addEventListener("abort", () => stop(signal.reason));
  });
}

// Waits while the server is full.
async function patiently(once, signal) {
  for (let tries = 0; ; tries += 1) {
    const answer = await once();
    if (answer.status !== 429 || tries === 30) return answer;
    await later(Number(answer.after) || 2, signal);
  }
}

export async function ask(path, { method = "GET", json, signal } = {}) {
  const answer = await patiently(async () => {
    const given = json ? { "Content-Type": "application/json" } : {};
    const found = await fetch(path, { method, signal, body: json && JSON.stringify(json), headers: { ...headers(), ...given } })
      .catch((error) => { throw error.name === "AbortError" ? error : new Refused(0, "unreachable"); });
    found.after = found.headers.get("Retry-After");
    return found;
  }, signal);
  if (!answer.ok) throw refusal(answer.status, await answer.text());
  return answer;
}

// Sends a file and says how much of it has gone; fetch cannot.
export async function send(path, file, { sent = () => {}, signal } = {}) {
  await file.slice(0, 1).arrayBuffer().catch(() => { throw new Refused(0, "locked"); });
  const answer = await patiently(() => new Promise((found, failed) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => sent(event.loaded / event.total);
    request.onload = () => found({ status: request.status, text: request.responseText, after: request.getResponseHeader("Retry-After") });
    request.onerror = () => failed(new Refused(0, "unreachable"));
    request.onabort = () => failed(signal.reason);
    signal?.addEventListener("abort", () => request.abort());
    request.send(file);
  }), signal);
  if (answer.status >= 300) throw refusal(answer.status, answer.text);
  return JSON.parse(answer.text);
}

// The pixels of an answered picture.
export async function bitmap(answer) {
  return createImageBitmap(await answer.blob());
}
