import type { FastifyInstance } from "fastify";
import type { Control } from "../control.ts";
import { describeConfigChange, readConfigChange } from "../releases/config-vars.ts";
import { appOf, callerOf } from "./server.ts";

/** Config vars of an app (Platform API reference, "Config Vars"): a flat object; every change is a release. */
export function register(server: FastifyInstance, control: Control): void {
  server.get("/apps/:app/config-vars", async (request) => {
    const app = await appOf(control, request);
    return control.releases.appConfig(app.id);
  });

  server.patch("/apps/:app/config-vars", async (request) => {
    const app = await appOf(control, request);
    const change = readConfigChange(request.body);
    return control.releases.changeConfig(app.id, callerOf(request), change, describeConfigChange);
  });
}
