import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  type FormationPicture,
  type PlannedDyno,
  planFormation,
  type Step,
} from "../../../src/control/formation/plan.ts";

/** `web.1@2 serving up` as a dyno; `!` behind the state: it failed. */
function dyno(text: string): PlannedDyno {
  const [, type, number, version, phase, state, failed] =
    /^(\w+)\.(\d+)@(\d+) (\w+) (\w+)(!?)$/.exec(text) ?? assert.fail(text);
  return {
    id: `${type}.${number}@${version}`,
    type: type!,
    number: Number(number),
    releaseId: `r${version}`,
    version: Number(version),
    command: `run ${version}`,
    size: "Basic",
    phase: phase as PlannedDyno["phase"],
    state: state as PlannedDyno["state"],
    failed: failed === "!",
  };
}

const words = (step: Step): string =>
  step.do === "create"
    ? `create ${step.dyno.type}.${step.dyno.number}@${step.dyno.releaseId.slice(1)} ${step.dyno.phase}`
    : step.do === "move"
      ? `${step.id} ${step.phase}`
      : step.do === "remove"
        ? `remove ${step.id}`
        : `trouble ${step.text !== null}`;

interface Case {
  dynos: string[];
  web?: number;
  worker?: number;
  preboot?: boolean;
  trouble?: string;
  steps: string[];
}

function check({ dynos, web = 1, worker, preboot = true, trouble, steps }: Case): void {
  const picture: FormationPicture = {
    current: {
      id: "r3",
      version: 3,
      processTypes: { web: "run 3", ...(worker === undefined ? {} : { worker: "run 3" }), release: "never" },
      trouble: trouble ?? null,
    },
    wanted: new Map([
      ["web", { quantity: web, size: "Basic" }],
      ["worker", { quantity: worker ?? 0, size: "Basic" }],
    ]),
    preboot,
    dynos: dynos.map(dyno),
  };
  assert.deepEqual(planFormation(picture).map(words).sort(), [...steps].sort());
}

describe("plan", () => {
  it("starts the first ones at once", () =>
    check({ dynos: [], web: 2, steps: ["create web.1@3 serving", "create web.2@3 serving"] }));
  it("has nothing to do when all is as it shall be", () =>
    check({ dynos: ["web.1@3 serving up"], steps: [] }));
  it("starts new web dynos beside the old", () =>
    check({ dynos: ["web.1@2 serving up"], steps: ["create web.1@3 beside"] }));
  it("waits for every new one", () =>
    check({
      web: 2,
      dynos: ["web.1@2 serving up", "web.1@3 beside up", "web.2@3 beside starting"],
      steps: [],
    }));
  it("switches all together", () =>
    check({
      web: 2,
      dynos: ["web.1@2 serving up", "web.2@2 serving up", "web.1@3 beside up", "web.2@3 beside up"],
      steps: ["web.1@3 serving", "web.2@3 serving", "web.1@2 draining", "web.2@2 draining"],
    }));
  it("falls back when a new one fails", () =>
    check({
      dynos: ["web.1@2 serving up", "web.1@3 beside crashed!"],
      steps: ["remove web.1@3", "trouble true"],
    }));
  it("stays with the old ones in trouble, and scales those", () =>
    check({ web: 2, trouble: "x", dynos: ["web.1@2 serving up"], steps: ["create web.2@2 serving"] }));
  it("forgets the trouble when nothing serves any more", () =>
    check({ web: 1, trouble: "x", dynos: ["web.1@2 draining up"], steps: ["trouble false"] }));
  it("gives up what an even newer release overtook, and keeps what serves", () =>
    check({
      dynos: ["web.1@1 serving up", "web.1@2 beside starting"],
      steps: ["remove web.1@2", "create web.1@3 beside"],
    }));
  it("has no use for old ones that are down", () =>
    check({ dynos: ["web.1@2 serving crashed!"], steps: ["remove web.1@2", "create web.1@3 serving"] }));
  it("lets new ones serve when the old ones go down meanwhile", () =>
    check({
      dynos: ["web.1@2 serving crashed!", "web.1@3 beside starting"],
      steps: ["remove web.1@2", "web.1@3 serving"],
    }));
  it("restarts one beside itself", () =>
    check({
      web: 2,
      dynos: ["web.1@3 serving up", "web.2@3 replaced up"],
      steps: ["create web.2@3 beside"],
    }));
  it("keeps the old one when its restart fails", () =>
    check({
      dynos: ["web.1@3 replaced up", "web.1@3 beside crashed!"],
      steps: ["remove web.1@3", "web.1@3 serving", "trouble true"],
    }));
  it("drains what scaling down takes, also while a deploy goes on", () => {
    check({ dynos: ["web.1@3 serving up", "web.2@3 serving up"], steps: ["web.2@3 draining"] });
    check({
      dynos: [
        "web.1@2 serving up",
        "web.2@2 serving up",
        "web.1@3 beside starting",
        "web.2@3 beside starting",
      ],
      steps: ["web.2@2 draining", "remove web.2@3"],
    });
    check({
      web: 0,
      dynos: ["web.1@2 serving up", "web.1@3 beside up"],
      steps: ["web.1@2 draining", "remove web.1@3"],
    });
  });
  it("has Heroku's plain order without preboot", () =>
    check({
      preboot: false,
      dynos: ["web.1@2 serving up"],
      steps: ["remove web.1@2", "create web.1@3 serving"],
    }));
  it("stops a worker before its successor starts", () => {
    check({
      web: 0,
      worker: 1,
      dynos: ["worker.1@2 serving up"],
      steps: ["worker.1@2 stopping", "create worker.1@3 queued"],
    });
    check({ web: 0, worker: 1, dynos: ["worker.1@2 stopping up", "worker.1@3 queued starting"], steps: [] });
    check({ web: 0, worker: 1, dynos: ["worker.1@3 queued starting"], steps: ["worker.1@3 serving"] });
  });
  it("stops types that are gone, and never starts `release`", () =>
    check({ web: 0, dynos: ["clock.1@2 serving up"], steps: ["clock.1@2 stopping"] }));
});
