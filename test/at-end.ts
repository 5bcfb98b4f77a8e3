import type { TestContext } from "node:test";

const steps = new WeakMap<TestContext, (() => unknown)[]>();

/** Does `step` after the test, the last one given first: a server stops before its folder is removed. */
export function atEnd(t: TestContext, step: () => unknown): void {
  const known = steps.get(t);
  if (known) {
    known.push(step);
    return;
  }
  const own = [step];
  steps.set(t, own);
  // node:test runs its hooks in the order they were given, and stops at the first that fails.
  t.after(async () => {
    const failures: unknown[] = [];
    for (const one of own.reverse()) {
      try {
        await one();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  });
}
