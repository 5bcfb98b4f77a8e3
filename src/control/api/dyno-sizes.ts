import type { FastifyInstance } from "fastify";
import { DYNO_SIZES } from "../../config/environment.ts";
import type { Control } from "../control.ts";
import { notFound } from "../errors.ts";
import { fixedId } from "../fixed-ids.ts";
import { sendList } from "./lists.ts";

const GiB = 1024 ** 3;

export function register(server: FastifyInstance, _control: Control): void {
  const sizes = [...DYNO_SIZES.values()].map(({ name, memoryBytes, cpuShares }) => ({
    architecture: process.arch === "x64" ? "amd64" : process.arch,
    compute: cpuShares,
    cost: null,
    dedicated: name.startsWith("Performance"),
    dyno_units: cpuShares,
    generation: { id: fixedId("generation", "cedar"), name: "cedar" },
    id: fixedId("dyno-size", name),
    memory: memoryBytes / GiB,
    name,
    precise_dyno_units: String(cpuShares),
    private_space_only: false,
  }));
  server.get("/dyno-sizes", (request, reply) => sendList(request, reply, sizes, ["name", "id"]));
  server.get<{ Params: { size: string } }>("/dyno-sizes/:size", async (request) => {
    const wanted = request.params.size.toLowerCase();
    const found = sizes.find(({ id, name }) => id === wanted || name.toLowerCase() === wanted);
    if (!found) throw notFound("dyno size");
    return found;
  });
}
