// Makes the page an app that works without a network, where the browser can. The files are kept once the network has
// been loaded and the first photographs are done: all at a time would delay them.
import { quiet } from "./server.js";

quiet().then(() => navigator.serviceWorker?.register("sw.js").catch(() => {}));
