// Makes the page an app that works without a network, where the browser can. The files are kept once the network has
// been loaded: both at a time would delay the first photograph.
import { ready } from "./server.js";

ready.then(() => navigator.serviceWorker?.register("sw.js").catch(() => {}));
