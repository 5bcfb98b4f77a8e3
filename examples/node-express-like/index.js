import polka from "polka";

const app = polka();

app.use((request, _response, next) => {
  console.log(`${request.method} ${request.url}`);
  next();
});
app.get("/", (_request, response) => response.end("Hello from a router\n"));
app.get("/hello/:name", (request, response) => response.end(`Hello, ${request.params.name}\n`));

app.listen(process.env.PORT ?? 3000, () => console.log("listening"));

process.on("SIGTERM", () => {
  app.server.close(() => process.exit(0));
  app.server.closeIdleConnections();
});
