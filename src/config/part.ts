/** A part that serves: its `start` function has bound its ports and dropped privilege before it resolves with this. */
export interface Part {
  /** Real port numbers by name: edge `http` `https`; logplex `syslog` `http`; control `http` `https` `rendezvous`. */
  ports: Record<string, number>;
  /** One sentence for each thing that this machine refuses (missing isolation, …). */
  notes: string[];
  /**
   * Ends cleanly: no new work is taken, what is under way is finished or handed over. The host stops its
   * dynos; with `now` it kills them at once. Resolves when done.
   */
  stop(now?: boolean): Promise<void>;
  /**
   * The supervisor died: leave in order, but let dynos go on, for the next host to adopt. Without it the
   * process just ends.
   */
  abandon?(): Promise<void>;
}

/** Part to supervisor over Node's IPC channel. */
export type PartMessage =
  | { kind: "ready"; ports: Record<string, number>; notes: string[] }
  | { kind: "failed"; message: string };

/** Supervisor to part. `now`: a second Ctrl-C; finish nothing. */
export type SupervisorMessage = { kind: "stop"; now?: boolean };
