import "../../src/control/tls/certificate.ts";
import { readConfig } from "../../src/config/environment.ts";
import { layoutOf } from "../../src/config/layout.ts";
import { startControl } from "../../src/control/start.ts";
import { servePart } from "../../src/part.ts";

/*
 * Control as a process of its own, as a user without rights: all code is loaded first, so that this user need
 * not reach the checkout.
 */
const { TEST_UID, TEST_GID } = process.env;
if (TEST_UID) {
  process.setgroups?.([]);
  process.setgid?.(Number(TEST_GID));
  process.setuid?.(Number(TEST_UID));
}
await servePart("sluice: control", () => {
  const config = readConfig(process.env);
  return startControl(config, layoutOf(config.home));
});
