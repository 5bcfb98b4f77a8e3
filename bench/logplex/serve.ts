import { readConfig } from "../../src/config/environment.ts";
import { layoutOf } from "../../src/config/layout.ts";
import { startLogplex } from "../../src/logplex/logplex.ts";

/** The Logplex alone in this process, on free ports; keeps its user. */
const config = readConfig(process.env);
config.logplex.syslogPort = 0;
config.logplex.httpPort = 0;
const part = await startLogplex(config, layoutOf(config.home), { keepUser: true });
process.send?.({ ports: part.ports });
process.on("disconnect", () => void part.stop(true).then(() => process.exit(0)));
