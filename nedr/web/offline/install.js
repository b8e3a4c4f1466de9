// Makes the page an app that works without a network, where the browser can.
navigator.serviceWorker?.register("sw.js").catch(() => {});
