import type * as Library from "uWebSockets.js";
import { closeSync, openSync } from "node:fs";
import { createRequire } from "node:module";

/*
 * The one place that loads uWebSockets.js: a native library that somebody else built. SLUICE_UWS names a
 * folder to load upstream's own build from, which operators should prefer where they can fetch it.
 */

/** Bytes of a request's head; the library reads it from the environment when it is loaded, and its 4096 is too small. */
process.env.UWS_HTTP_MAX_HEADERS_SIZE ??= "65536";

const require = createRequire(import.meta.url);

export const uws = require(process.env.SLUICE_UWS || "uWebSockets.js") as typeof Library;

// Takes the library's own header off every answer; it works before the first App only.
(uws as unknown as { _cfg(key: string): void })._cfg("999999990007");

/** The library talks of server names on stdout, which no edge writes to: it goes nowhere from here on. */
export function muteLibrary(): void {
  closeSync(1);
  // The lowest free number, so it is 1 again.
  openSync("/dev/null", "w");
}

export type {
  HttpRequest,
  HttpResponse,
  TemplatedApp,
  us_listen_socket,
  us_socket_context_t,
  WebSocket,
} from "uWebSockets.js";
