import { createServer } from "node:http";

const server = createServer((request, response) => {
  console.log(`${request.method} ${request.url}`);
  response.setHeader("Content-Type", "text/plain; charset=utf-8");
  response.end(`Hello from ${process.env.DYNO ?? "here"}\n`);
});

server.listen(process.env.PORT ?? 3000, () => console.log("listening"));

// A dyno that stops gets SIGTERM: finish the requests in flight, then go.
process.on("SIGTERM", () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
