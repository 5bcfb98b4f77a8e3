import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const page = `<!doctype html><title>echo</title><input autofocus><pre></pre><script>
const socket = new WebSocket(location.href.replace(/^http/, "ws"));
const [input, out] = [document.querySelector("input"), document.querySelector("pre")];
socket.onmessage = (event) => (out.textContent += event.data + "\\n");
input.onchange = () => (socket.send(input.value), (input.value = ""));
</script>`;

const server = createServer((request, response) => {
  console.log(`${request.method} ${request.url}`);
  response.setHeader("Content-Type", "text/html; charset=utf-8");
  response.end(page);
});

const sockets = new WebSocketServer({ server });
sockets.on("connection", (socket, request) => {
  console.log(`open ${request.url}`);
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  socket.on("close", (code) => console.log(`closed ${code}`));
});

server.listen(process.env.PORT ?? 3000, () => console.log("listening"));

process.on("SIGTERM", () => {
  for (const socket of sockets.clients) socket.close(1001, "restarting");
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
