// Serves the files of a site on $PORT: types, index.html, 404, HEAD, conditional and range requests.
"use strict";
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");

const home = path.resolve(__dirname, "../..");
const root = fs.realpathSync(path.join(home, fs.readFileSync(path.join(__dirname, "root"), "utf8")));
const settings = readSettings();

function readSettings() {
  try {
    return JSON.parse(fs.readFileSync(path.join(home, "static.json"), "utf8"));
  } catch {
    return {};
  }
}

const TYPES = {
  ".avif": "image/avif", ".bmp": "image/bmp", ".css": "text/css; charset=utf-8", ".csv": "text/csv; charset=utf-8",
  ".gif": "image/gif", ".gz": "application/gzip", ".htm": "text/html; charset=utf-8", ".html": "text/html; charset=utf-8",
  ".ico": "image/x-icon", ".jpeg": "image/jpeg", ".jpg": "image/jpeg", ".js": "text/javascript; charset=utf-8",
  ".json": "application/json", ".jsonld": "application/ld+json", ".map": "application/json", ".md": "text/markdown; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8", ".mp3": "audio/mpeg", ".mp4": "video/mp4", ".ogg": "audio/ogg", ".otf": "font/otf",
  ".pdf": "application/pdf", ".png": "image/png", ".rss": "application/rss+xml", ".svg": "image/svg+xml",
  ".ttf": "font/ttf", ".txt": "text/plain; charset=utf-8", ".wasm": "application/wasm", ".wav": "audio/wav",
  ".webm": "video/webm", ".webmanifest": "application/manifest+json", ".webp": "image/webp", ".woff": "font/woff",
  ".woff2": "font/woff2", ".xml": "application/xml", ".zip": "application/zip",
};
// Files of the platform and of the deploy are no part of the site; dot files are not, but for .well-known.
const HIDDEN = new Set(["static.json", "Procfile", "app.json"]);

/** The file that a path names, or null: below the root only, whatever links and dots say. */
function find(pathname) {
  let decoded;
  try {
    decoded = decodeURIComponent(pathname);
  } catch {
    return null;
  }
  if (decoded.includes("\0")) return null;
  const parts = decoded.split("/").filter(Boolean);
  if (parts.some((part) => part === ".." || (part.startsWith(".") && part !== ".well-known"))) return null;
  if (parts.length === 1 && HIDDEN.has(parts[0])) return null;
  return within(path.join(root, ...parts));
}

function within(file) {
  try {
    const real = fs.realpathSync(file);
    if (real !== root && !real.startsWith(`${root}${path.sep}`)) return null;
    return { file: real, stat: fs.statSync(real) };
  } catch {
    return null;
  }
}

function answer(request, response) {
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.writeHead(405, { Allow: "GET, HEAD", "Content-Type": "text/plain" });
    return response.end("Method not allowed\n");
  }
  const mark = request.url.indexOf("?");
  const pathname = mark < 0 ? request.url : request.url.slice(0, mark);
  let found = find(pathname);
  if (found?.stat.isDirectory()) {
    if (!pathname.endsWith("/")) {
      // One slash at the front: `//host` would lead to another host.
      response.writeHead(301, { Location: `/${pathname.replace(/^\/+/, "")}/${mark < 0 ? "" : request.url.slice(mark)}` });
      return response.end();
    }
    found = within(path.join(found.file, "index.html"));
  }
  if (!found && settings.clean_urls) found = find(`${pathname}.html`);
  if (!found && settings.routes?.["/**"]) found = find(`/${settings.routes["/**"]}`);
  if (found?.stat.isFile()) return send(request, response, found, 200);
  const missing = within(path.join(root, typeof settings.error_page === "string" ? settings.error_page : "404.html"));
  if (missing?.stat.isFile()) return send(request, response, missing, 404);
  response.writeHead(404, { "Content-Type": "text/plain; charset=utf-8" });
  response.end("Not found\n");
}

function send(request, response, { file, stat }, status) {
  const etag = `"${stat.size.toString(16)}-${Math.floor(stat.mtimeMs).toString(16)}"`;
  const type = TYPES[path.extname(file).toLowerCase()] ?? "application/octet-stream";
  const head = {
    "Content-Type": type,
    "Last-Modified": stat.mtime.toUTCString(),
    ETag: etag,
    "Accept-Ranges": "bytes",
    "Cache-Control": type.startsWith("text/html") ? "no-cache" : "public, max-age=3600",
    "X-Content-Type-Options": "nosniff",
  };
  if (status === 200) {
    const known = request.headers["if-none-match"];
    const since = Date.parse(request.headers["if-modified-since"] ?? "");
    const same = known ? known.split(",").some((tag) => tag.trim().replace(/^W\//, "") === etag || tag.trim() === "*") : since >= Math.floor(stat.mtimeMs / 1000) * 1000;
    if (same) {
      response.writeHead(304, head);
      return response.end();
    }
  }
  let start = 0;
  let end = stat.size - 1;
  const range = status === 200 && /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? "");
  if (range && (range[1] || range[2]) && (!request.headers["if-range"] || request.headers["if-range"] === etag)) {
    start = range[1] ? Number(range[1]) : Math.max(0, stat.size - Number(range[2]));
    end = range[1] && range[2] ? Math.min(Number(range[2]), end) : end;
    if (start > end || start >= stat.size) {
      response.writeHead(416, { "Content-Range": `bytes */${stat.size}` });
      return response.end();
    }
    status = 206;
    head["Content-Range"] = `bytes ${start}-${end}/${stat.size}`;
  }
  head["Content-Length"] = end - start + 1;
  response.writeHead(status, head);
  if (request.method === "HEAD" || stat.size === 0) return response.end();
  const body = fs.createReadStream(file, { start, end });
  body.on("error", () => response.destroy());
  response.on("close", () => body.destroy());
  body.pipe(response);
}

const server = http.createServer(answer);
server.keepAliveTimeout = 90_000;
server.listen(Number(process.env.PORT ?? 3000), () => console.log(`Serving ${path.relative(home, root) || "the root folder"} on port ${server.address().port}`));
process.on("SIGTERM", () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
