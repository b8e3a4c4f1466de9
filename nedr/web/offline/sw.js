// Keeps the page's files, so that it opens without a network. A new version is taken whole, or not at all.
importScripts("files.js"); // VERSION, FILES; LATER are kept when they are first used

self.addEventListener("install", (event) => {
  const fresh = FILES.map((name) => new Request(name, { cache: "no-cache" })); // what a browser still holds may be of the old version
  event.waitUntil(caches.open(VERSION).then((cache) => cache.addAll(fresh)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const old = caches.keys().then((names) => Promise.all(names.filter((name) => name.startsWith("nedr-") && name !== VERSION).map((name) => caches.delete(name))));
  event.waitUntil(old.then(() => self.clients.claim()));
});

async function answer(request) {
  const cache = await caches.open(VERSION), kept = await cache.match(request, { ignoreSearch: true });
  if (kept) return kept;
  const found = await fetch(request);
  if (found.ok && LATER.some((name) => request.url.endsWith(name))) await cache.put(request, found.clone());
  return found;
}

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && url.startsWith(self.registration.scope)) event.respondWith(answer(event.request));
});
