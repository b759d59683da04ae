"""A plain HTTP/1.1 service: answers every request with 200 and a body of the asked size.

`/?bytes=N` asks for a length; `/echo` answers with the request's body; `/late` answers after a second; anything else
gets 1 KiB. Usage: backend.py PORT
"""

import http.server
import sys
import time
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self):
        try:
            sent = self.read_body()
        except (ValueError, OSError):
            # The proxy has cut the request: its client broke the rules, or went away.
            self.close_connection = True
            return
        parts = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(parts.query)
        if parts.path == "/late":
            time.sleep(1)
        body = sent if parts.path == "/echo" else b"x" * int(query.get("bytes", ["1024"])[0])
        try:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.send_header("x-method", self.command)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
        except OSError:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = answer

    def read_body(self):
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
