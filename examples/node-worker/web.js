import { createServer } from "node:http";

const server = createServer((request, response) => {
  console.log(`${request.method} ${request.url}`);
  response.end("The worker's lines are in the log: sluice logs --tail --ps worker\n");
});

server.listen(process.env.PORT ?? 3000, () => console.log("listening"));

process.on("SIGTERM", () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
