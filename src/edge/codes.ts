/** One of Heroku's error codes as the router's line and the answer show it (contract, section 1). */
export interface ErrorCode {
  readonly code: string;
  readonly description: string;
  readonly at: "error" | "warning" | "info";
  readonly status: number;
  /** Whose socket failed; stands first in the line. */
  readonly socket: "client" | "backend" | null;
}

const code = (
  name: string,
  description: string,
  status = 503,
  at: ErrorCode["at"] = "error",
  socket: ErrorCode["socket"] = null,
): ErrorCode => ({ code: name, description, at, status, socket });

export const H10 = code("H10", "App crashed");
export const H11 = code("H11", "Backlog too deep");
export const H12 = code("H12", "Request timeout");
export const H13 = code("H13", "Connection closed without response");
export const H14 = code("H14", "No web processes running");
export const H15 = code("H15", "Idle connection");
export const H17 = code("H17", "Poorly formatted HTTP response");
export const H18 = code("H18", "Server Request Interrupted", 503, "error", "backend");
export const H19 = code("H19", "Backend connection timeout");
export const H20 = code("H20", "App boot timeout");
export const H21 = code("H21", "Backend connection refused");
export const H24 = code("H24", "Forced close");
export const H25_LENGTH = code("H25", "HTTP restriction: invalid content length", 502);
export const H25_COOKIE = code("H25", "HTTP restriction: oversized cookie", 502);
export const H25_HEADER = code("H25", "HTTP restriction: oversized header", 502);
export const H25_STATUS = code("H25", "HTTP restriction: oversized status line", 502);
export const H27 = code("H27", "Client Request Interrupted", 499, "warning", "client");
export const H28 = code("H28", "Client Connection Idle", 499, "warning");
export const H80 = code("H80", "Maintenance mode", 503, "info");
export const H81 = code("H81", "Blank app", 502, "info");
export const H99 = code("H99", "Platform error");
