"""A minimal Task Runner: it runs the `args` of each job as a process of this machine.

It serves 127.0.0.1 only, because whoever can call it can run programs: `python minimal.py PORT`.

It forgets its jobs when it is restarted, but they may go on. Stop them first, or it will start them again and deny that
they run. A real Task Runner must find them again, or answer lookups with HTTP 503.
"""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

jobs, lock = {}, threading.Lock()  # The idempotency key also serves as the job's id.


class TaskRunner(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        key, body = self.headers["Idempotency-Key"], self.rfile.read(int(self.headers["Content-Length"]))
        with lock:  # Two submissions with the same key may arrive at once, and must start one job.
            try:
                if key not in jobs:
                    jobs[key] = subprocess.Popen(json.loads(body)["args"])
            except (OSError, KeyError, TypeError, ValueError) as error:  # Without an answer, its step would wait.
                return self.respond(400, {"message": f"the job cannot be started: {error}"})
        return self.answer(key)

    def do_GET(self):
        [(name, [job_id])] = parse_qs(urlsplit(self.path).query).items()  # `name` is job_id, or key for a lookup.
        if self.command == "DELETE" and job_id in jobs:
            jobs[job_id].terminate()
        self.answer(job_id, 200 if name == "key" else 404)

    def do_DELETE(self):
        self.do_GET()

    def answer(self, job_id, if_unknown=404):
        code = jobs[job_id].poll() if job_id in jobs else None
        state = {None: "RUNNING", 0: "SUCCEEDED", -15: "CANCELLED"}.get(code, "FAILED")
        job = {"jobId": job_id, "state": state, "message": "" if code is None else f"exit code {code}"}
        unknown = {"key": job_id, "jobId": None, "message": f"no job {job_id}"}
        self.respond(*((200, {"key": job_id, "job": job}) if job_id in jobs else (if_unknown, unknown)))

    def respond(self, status, document):
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), TaskRunner).serve_forever()
