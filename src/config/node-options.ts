/**
 * Options of Node's for an edge worker. Young objects get 32 MiB at once: what a request makes is dead before the
 * space is full, so hardly anything is copied out of it; that spares about 1 µs a request for 64 MiB of memory.
 */
export const EDGE_NODE_OPTIONS: readonly string[] = ["--min-semi-space-size=32", "--max-semi-space-size=32"];
