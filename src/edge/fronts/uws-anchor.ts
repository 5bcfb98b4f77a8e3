import net from "node:net";
import { type HttpResponse, uws } from "./uws-library.ts";

/*
 * The library's build for Node 20 reads a socket's old state after an upgrade that was made while that socket
 * was corked, and now and then closes the new WebSocket for it. Made uncorked, it warns on stderr each time: it
 * only looks whether some cork is open. So each worker holds one response of its own, never answered, to cork
 * while another is upgraded.
 */
export class Anchor {
  #response: HttpResponse | null;
  #socket: net.Socket;

  constructor(response: HttpResponse, socket: net.Socket) {
    this.#response = response;
    this.#socket = socket;
    socket.on("close", () => {
      this.#response = null;
    });
  }

  /** Runs `work` while a cork is open, though not that of the response it works on. */
  cork(work: () => void): void {
    if (this.#response === null) work();
    else this.#response.cork(work);
  }

  close(): void {
    const response = this.#response;
    // Closing it calls here again.
    this.#response = null;
    response?.close();
    this.#socket.destroy();
  }
}

/** Opens the anchor, by a request of the worker to itself on a loopback port that is closed again at once. */
export function openAnchor(): Promise<Anchor> {
  return new Promise((resolve, reject) => {
    const app = uws.App();
    let socket: net.Socket;
    app.listen("127.0.0.1", 0, (listener) => {
      if (!listener) return reject(new Error("The edge cannot listen on the loopback interface."));
      app.get("/*", (response) => {
        uws.us_listen_socket_close(listener);
        const anchor = new Anchor(response, socket);
        response.onAborted(() => anchor.close());
        resolve(anchor);
      });
      socket = net.connect(uws.us_socket_local_port(listener as never), "127.0.0.1");
      socket.on("error", reject);
      socket.write("GET / HTTP/1.1\r\nHost: anchor\r\n\r\n");
    });
  });
}
