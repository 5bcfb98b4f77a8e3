import path from "node:path";

/** A proxy measured beside the edge: what runs it, and its settings for one worker with the same work. */
export interface Peer {
  name: string;
  program: string;
  args(file: string): string[];
  config(port: number): string;
}

/** nginx as a reverse proxy with keep-alive to the backend, Heroku's headers, and a line a request to syslog. */
export const nginxConfig = (folder: string, backend: number, syslog: string): Peer => ({
  name: "nginx",
  program: "nginx",
  args: (file) => ["-p", folder, "-c", file, "-e", path.join(folder, "nginx-error.log")],
  config: (port) => `
${process.getuid?.() === 0 ? "user root;" : ""}
daemon off;
worker_processes 1;
pid ${path.join(folder, "nginx.pid")};
error_log ${path.join(folder, "nginx-error.log")} crit;
events { worker_connections 1024; }
http {
  client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder};
  uwsgi_temp_path ${folder}; scgi_temp_path ${folder};
  log_format router 'at=info method=$request_method path="$request_uri" host=$host request_id=$request_id '
    'fwd="$proxy_add_x_forwarded_for" dyno=web.1 connect=$upstream_connect_time service=$request_time '
    'status=$status bytes=$body_bytes_sent protocol=$server_protocol tls=false';
  access_log syslog:server=unix:${syslog} router;
  keepalive_requests 100000000;
  upstream dynos { server 127.0.0.1:${backend}; keepalive 64; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://dynos;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Port $server_port;
      proxy_set_header X-Request-Start $msec;
      proxy_set_header X-Request-Id $request_id;
      proxy_set_header Via "1.1 heroku-router";
      add_header Via "1.1 heroku-router";
    }
  }
}
`,
});

/** HAProxy with the same work. */
export const haproxyConfig = (_folder: string, backend: number, syslog: string): Peer => ({
  name: "HAProxy",
  program: "haproxy",
  args: (file) => ["-db", "-f", file],
  config: (port) => `
global
  nbthread 1
  log ${syslog} len 4096 local0 info
defaults
  mode http
  log global
  option forwardfor
  http-reuse always
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  unique-id-format %{+X}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid
  log-format 'at=info method=%HM path="%HU" host=%[capture.req.hdr(0)] request_id=%ID fwd="%ci" dyno=%s connect=%Tc service=%Tr status=%ST bytes=%B protocol=%HV tls=false'
frontend edge
  bind 127.0.0.1:${port}
  capture request header Host len 100
  unique-id-header X-Request-Id
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Port %[dst_port]
  http-request set-header X-Request-Start %[date()]
  http-request add-header Via "1.1 heroku-router"
  http-response add-header Via "1.1 heroku-router"
  default_backend dynos
backend dynos
  server web.1 127.0.0.1:${backend} pool-max-conn 128
`,
});
