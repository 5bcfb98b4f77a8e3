import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from greeting import greet


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = (greet(os.environ.get("DYNO", "here")) + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        print(self.command, self.path, flush=True)


server = ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("PORT", 3000))), Handler)
server.daemon_threads = True

# shutdown() waits for serve_forever(), which runs in the thread that the signal interrupts.
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())

print("listening", flush=True)
server.serve_forever()
