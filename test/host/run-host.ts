import { readConfig } from "../../src/config/environment.ts";
import { layoutOf } from "../../src/config/layout.ts";
import { startHost } from "../../src/host/host.ts";

/* A host in a process of its own, for tests that kill it: stops on the message "stop" and when its parent is gone. */
const config = readConfig(process.env);
const host = await startHost(config, layoutOf(config.home));
process.on("message", async () => {
  await host.stop();
  process.exit(0);
});
process.on("disconnect", async () => {
  await host.stop(true);
  process.exit(0);
});
