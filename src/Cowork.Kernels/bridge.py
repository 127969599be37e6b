"""The sandbox's first process: one Jupyter kernel behind lines of JSON.

Its only argument is a JSON object: the kernel's argv, how it is interrupted, its language and the limits. Commands come as lines on standard input (exec, interrupt,
restart, quit), events leave as lines on standard output. The kernel's user is this process's own, so nothing here may trust what the kernel sends, where its files lie
or which signals come.
"""

import collections
import ctypes
import importlib.metadata
import json
import os
import re
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import time

SETTINGS = json.loads(sys.argv[1])
OUTPUT_MAX = SETTINGS["output_bytes"]
MEMORY_MAX = SETTINGS["memory_bytes"]
DISK_MAX = SETTINGS["disk_bytes"]
CELL_SECONDS = SETTINGS["seconds"]
# The kernel's working directory, all folders of the session, and those of them that cells may write to.
WORKSPACE = SETTINGS["workspace"]
FOLDERS = SETTINGS["folders"]
WRITABLE = SETTINGS["writable"]
SCRATCH = ("/tmp", "/dev/shm")

# A cell that goes on printing is ended at so many times what is passed on.
OUTPUT_FACTOR = 16
# What an interrupted cell has to end.
INTERRUPT_SECONDS = 3.0

# A kernel says that a cell has begun a moment before its code runs, and a signal in that moment may be lost: one that comes so early is sent again after the same time.
BEGINNING_SECONDS = 0.5
# The reply and the idle status come on two sockets. When one is there, the other follows, or was lost.
PAIR_SECONDS = 10.0
# A reply that only repeats the exception that was shown.
ERROR_SECONDS = 2.0
START_SECONDS = 60.0
WATCH_SECONDS = 0.1
IDLE_WATCH_SECONDS = 1.0
# A kernel that has as many processes as there may be for so long is past the limit: one that was refused a process is not.
FULL_SECONDS = 2.0
# The kernel is stopped while more than this waits for the host, and goes on when less than that does.
PENDING_HIGH = 1 << 20
PENDING_LOW = 1 << 18
# Names in the sandbox's own file systems, whose memory no size limits.
NAMES_MAX = 100_000
# A name without content takes room, too.
NAME_BYTES = 4096
# What the value of a cell may take when other output has filled the room, and what an exception may.
RESULT_BYTES = min(OUTPUT_MAX // 16, 64 << 10)
VALUE_MAX = 20_000
# Characters that threads may print between two cells.
LATE_MAX = 16 << 10
TRACEBACK_MAX = 100_000
# A larger message is not worth the memory of parsing it.
MESSAGE_MAX = 64 << 20
# Deeper values are dropped: those who read the events parse to a depth of 64.
DEPTH_MAX = 40
# Forms of one thing to show.
FORMS_MAX = 64
RESERVE_MAX = 1 << 30
NICE = 10

# ipykernel publishes what it says over a socket that drops messages beyond a thousand: its own is given a queue without an end, which the limit of memory bounds.
IPYKERNEL = """
import sys
if sys.path[0] == "":
    del sys.path[0]
import zmq
from ipykernel.kernelapp import IPKernelApp
class App(IPKernelApp):
    name = "ipython-kernel"
    def init_iopub(self, context):
        context.setsockopt(zmq.SNDHWM, 0)
        super().init_iopub(context)
App.launch_instance()
"""

PAIR_STATUSES = ("ok", "error", "aborted")


class Outgoing:
    """Lines for the host. The host reads when it can, and nobody here waits for it."""

    def __init__(self):
        self.parts = collections.deque()
        self.size = 0
        os.set_blocking(1, False)

    def put(self, event):
        try:
            line = json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except (ValueError, TypeError, RecursionError):
            return False
        # Half of a surrogate pair is no text.
        data = line.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode() + b"\n"
        self.parts.append(memoryview(data))
        self.size += len(data)
        self.flush()
        return True

    def flush(self):
        while self.parts:
            try:
                written = os.write(1, self.parts[0])
            except BlockingIOError:
                return
            except OSError:
                leave()
            self.size -= written
            if written == len(self.parts[0]):
                self.parts.popleft()
            else:
                self.parts[0] = self.parts[0][written:]


class Cell:
    """A cell that runs."""

    def __init__(self, number, message):
        self.number = number
        self.message = message
        self.started = time.monotonic()
        self.deadline = self.started + CELL_SECONDS
        self.kill_at = None  # the kernel has been interrupted, and is killed then
        self.pair_at = None  # either the reply or the idle status is there
        self.limit = None
        self.why = None
        self.is_interrupted = False
        self.is_begun = False
        self.is_interrupt_due = False
        self.begun_at = None
        self.again_at = None  # the signal is repeated then
        self.reply = None
        self.is_idle = False
        self.has_error = False
        self.output = 0  # bytes that the kernel wrote
        self.passed = 0  # and those of them that the host was given
        self.result_room = RESULT_BYTES
        self.is_cut = False
        self.disk = None
        self.was_full = False  # there were as many processes as there may be already when it began


class Bridge:
    def __init__(self):
        self.out = Outgoing()
        self.commands = b""
        self.process = None
        self.generation = 0
        self.cell = None
        self.is_ready = False
        self.is_stopped = False
        self.start_by = 0.0
        self.asked_at = 0.0
        self.tail = b""
        self.next_watch = 0.0
        self.disk = Disk()
        self.session = None
        self.shell = self.iopub = self.control = None
        self.info = None
        self.environment_sent = False
        self.packages = None
        self.failed_starts = 0
        self.waiting = None  # a cell that comes while the kernel starts
        self.restarts = []  # who waits for one
        self.lost = None  # why variables are gone, for the next cell
        self.before = None  # message of the cell before
        self.late, self.late_size = [], 0  # what threads printed since then
        self.halted = set()  # processes that wait for the next cell
        self.full = 0.0  # seconds with as many processes as there may be, less those with fewer
        self.looked_at = 0.0
        self.wake, self.waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self.waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    # The kernel's life

    def start(self):
        self.generation += 1
        self.is_ready = self.is_stopped = False
        self.full = 0.0
        self.tail = b""
        self.folder = f"/run/{self.generation}"
        os.mkdir(self.folder, 0o700)
        self.connection = {
            "transport": "ipc", "ip": f"{self.folder}/s", "key": secrets.token_hex(32), "signature_scheme": "hmac-sha256", "kernel_name": SETTINGS["kernel"],
            "shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5,
        }
        path = f"{self.folder}/connection.json"
        with open(path, "w") as file:
            json.dump(self.connection, file)
        limits = [f"--nproc={SETTINGS['processes']}", "--core=0", f"--fsize={DISK_MAX - DISK_MAX // 16}", "--nofile=1024", "--memlock=0"]
        if SETTINGS["address_bytes"]:
            limits.append(f"--as={SETTINGS['address_bytes']}")
        argv = [part.replace("{connection_file}", path) for part in SETTINGS["argv"]]
        if argv[1:3] == ["-m", "ipykernel_launcher"]:
            argv[1:3] = ["-c", IPYKERNEL]
        self.process = subprocess.Popen(
            ["/usr/bin/nice", "-n", "5", "/usr/bin/prlimit", *limits, "--", *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            cwd=WORKSPACE, env={**os.environ, **SETTINGS["env"]})
        os.set_blocking(self.process.stdout.fileno(), False)
        self.start_by = time.monotonic() + START_SECONDS

    def connect(self):
        # Imported while the kernel starts.
        global zmq
        import zmq
        from jupyter_client.session import Session

        self.session = Session(key=self.connection["key"].encode())
        self.shell = self.socket(zmq.DEALER, "shell")
        self.control = self.socket(zmq.DEALER, "control")
        self.iopub = self.socket(zmq.SUB, "iopub")
        self.asked = set()
        self.seen_idle = False
        self.info = None
        self.ask()

    def socket(self, kind, channel):
        socket = zmq.Context.instance().socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        # The bridge reads all that comes: a full queue would make the kernel drop messages.
        socket.setsockopt(zmq.RCVHWM, 0)
        if kind == zmq.SUB:
            socket.setsockopt(zmq.SUBSCRIBE, b"")
        else:
            socket.setsockopt(zmq.IDENTITY, self.session.bsession)
        socket.connect(f"ipc://{self.connection['ip']}-{self.connection[channel + '_port']}")
        return socket

    def ask(self):
        """Asks who the kernel is until it answers on both sockets: only then does no message get lost."""
        message = self.session.msg("kernel_info_request", {})
        self.asked.add(message["header"]["msg_id"])
        self.session.send(self.shell, message)
        self.asked_at = time.monotonic()

    def close(self):
        for socket in (self.shell, self.control, self.iopub):
            if socket is not None:
                socket.close(0)
        self.shell = self.control = self.iopub = self.session = None

    def kill_all(self):
        """Ends every process in the sandbox but this one, and waits for each."""
        self.close()
        self.halted.clear()
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if self.process is not None:
            self.process.wait()
            self.process.stdout.close()
        while True:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                break
        self.process = None

    def restart(self):
        self.kill_all()
        clear("/run")
        for folder in SCRATCH:
            clear(folder)
        self.start()
        self.connect()

    def reap(self):
        """Waits for orphans, and tells whether the kernel has ended."""
        while True:
            try:
                # Without reaping, so that the kernel's own code stays for Popen.
                child = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return True
            if child is None:
                return False
            if self.process is not None and child.si_pid == self.process.pid:
                self.process.wait()
                return True
            os.waitpid(child.si_pid, 0)

    def died(self):
        code = self.process.returncode
        tail = self.read_tail()
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        cell, was_ready = self.cell, self.is_ready
        if not was_ready:
            self.failed_starts += 1
            if self.generation == 1 or self.failed_starts == 2:
                self.give_up(f"The kernel ended {how} before it took code. {tail[-600:]}".strip())
        is_memory = code < 0 and any(word in tail for word in ("bad_alloc", "MemoryError", "annot allocate memory"))
        if cell is not None:
            if is_memory and cell.limit is None:
                cell.limit, cell.why = "limit_memory", f"The kernel ended {how}: it got no more memory."
            self.end_cell("died" if cell.limit is None else "error", cell.why or f"The kernel ended {how}.", is_lost=True)
        elif was_ready:
            self.tell_loss(f"The kernel ended {how} after the cell before.")
        self.restart()

    def tell_loss(self, why):
        """Variables are gone while no cell runs: the host hears of it now, and the next cell says so."""
        self.lost = why
        self.out.put({"event": "lost", "why": why})

    def give_up(self, why):
        self.out.put({"event": "fatal", "why": why})
        os.set_blocking(1, True)
        self.out.flush()
        leave()

    def read_tail(self):
        try:
            while data := os.read(self.process.stdout.fileno(), 65536):
                self.tail = (self.tail + data)[-4096:]
        except (BlockingIOError, ValueError, OSError):
            pass
        return self.tail.decode("utf-8", "replace")

    # Commands

    def read_commands(self):
        try:
            data = os.read(0, 1 << 16)
        except BlockingIOError:
            return
        if not data:
            leave()
        self.commands += data
        while b"\n" in self.commands:
            line, self.commands = self.commands.split(b"\n", 1)
            self.obey(json.loads(line))

    def obey(self, command):
        name = command["command"]
        if name == "exec":
            self.waiting = command
            self.execute()
        elif name == "interrupt":
            if self.waiting is not None and self.waiting["id"] == command["id"]:
                self.cell, self.waiting = Cell(command["id"], None), None
                self.end_cell("interrupted", "The cell was interrupted before it began.", is_lost=False)
            elif self.cell is not None and self.cell.number == command["id"] and self.cell.kill_at is None:
                self.cell.is_interrupted = True
                self.interrupt()
        elif name == "restart":
            if self.cell is not None:
                self.end_cell("died", "The kernel was restarted.", is_lost=True)
            self.restarts.append(command["id"])
            self.lost = None
            self.late, self.late_size = [], 0
            self.restart()
        elif name == "quit":
            leave()

    def execute(self):
        """Hands the waiting cell to the kernel, if that takes code."""
        if not self.is_ready or self.waiting is None:
            return
        command, self.waiting = self.waiting, None
        message = self.session.msg("execute_request", {
            "code": command["code"], "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False, "stop_on_error": False})
        self.cell = Cell(command["id"], message["header"]["msg_id"])
        self.cell.disk = self.disk.used
        self.cell.was_full = is_full()
        self.full, self.looked_at = 0.0, time.monotonic()
        if self.lost is not None:
            self.out.put({"event": "restarted", "id": self.cell.number, "why": self.lost})
            self.lost = None
        late, self.late, self.late_size = self.late, [], 0
        for name, said in late:
            self.on_stream(name, said)
        self.before = self.cell.message
        self.wake_halted()
        self.session.send(self.shell, message)
        self.next_watch = time.monotonic() + WATCH_SECONDS

    def interrupt(self):
        """Asks the kernel to end the cell. It is killed when it does not."""
        self.cell.kill_at = time.monotonic() + INTERRUPT_SECONDS
        if SETTINGS["interrupt_mode"] == "message":
            self.session.send(self.control, self.session.msg("interrupt_request", {}))
        elif self.cell.is_begun:
            self.resume()
            self.signal_interrupt()
        else:
            self.cell.is_interrupt_due = True  # between two cells the kernel ignores the signal

    def signal_interrupt(self):
        now = time.monotonic()
        self.cell.again_at = now + BEGINNING_SECONDS if now < self.cell.begun_at + BEGINNING_SECONDS else None
        signal_group(self.process.pid, signal.SIGINT)

    def limit(self, code, why):
        """The cell is past a limit. It may end by itself, so that its traceback tells where it was."""
        cell = self.cell
        if cell.limit is None:
            cell.limit, cell.why = code, why
            if cell.kill_at is None:
                self.interrupt()

    def kill_for(self, code, why):
        """The cell is past a limit of which each further moment costs."""
        cell = self.cell
        if cell is not None:
            if cell.limit is None:
                cell.limit, cell.why = code, why
            self.end_cell("error", cell.why, is_lost=True)
        else:
            self.tell_loss(why.replace("The cell was ended", "The kernel was restarted"))
        self.restart()

    # What the kernel says

    def read_socket(self, socket, handle):
        while socket is not None and not socket.closed:
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.ZMQError:
                return
            if sum(map(len, frames)) > MESSAGE_MAX:
                self.on_flood(frames, handle)
                continue
            try:
                _, parts = self.session.feed_identities(frames)
                message = self.session.deserialize(parts, content=True)
                content, kind, parent = message["content"], message["header"]["msg_type"], message["parent_header"].get("msg_id")
                if isinstance(content, dict) and isinstance(kind, str):
                    handle(kind, content, parent)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                continue  # forged

    def on_shell(self, kind, content, parent):
        if kind == "kernel_info_reply" and parent in self.asked:
            self.info = content
            self.check_ready()
        elif kind == "execute_reply" and self.cell is not None and parent == self.cell.message and self.cell.reply is None:
            self.cell.reply = content
            self.cell.pair_at = time.monotonic() + PAIR_SECONDS
            self.check_done()

    def on_iopub(self, kind, content, parent):
        cell = self.cell
        if kind == "status" and content.get("execution_state") == "idle":
            if parent in self.asked:
                self.seen_idle = True
                self.check_ready()
            elif cell is not None and parent == cell.message:
                cell.is_idle = True
                cell.pair_at = cell.pair_at or time.monotonic() + (ERROR_SECONDS if cell.has_error else PAIR_SECONDS)
                self.check_done()
            return
        if cell is None and kind == "stream" and parent == self.before:
            self.on_late(content)
        if cell is None or parent != cell.message:
            return
        if kind == "execute_input":
            cell.is_begun = True
            cell.begun_at = time.monotonic()
            if cell.is_interrupt_due:
                cell.is_interrupt_due = False
                self.signal_interrupt()
        elif kind == "stream":
            self.on_stream(text(content.get("name")), text(content.get("text")))
        elif kind in ("display_data", "execute_result", "update_display_data"):
            self.on_display(kind, content)
        elif kind == "clear_output":
            self.out.put({"event": "clear_output", "id": cell.number, "wait": bool(content.get("wait"))})
        elif kind == "error":
            self.on_error(content)

    def on_stream(self, name, said, size=None):
        data = said.encode("utf-8", "surrogatepass")
        room = OUTPUT_MAX - self.cell.passed
        if len(data) > room:
            said = data[:room].decode("utf-8", "ignore")
            # A smaller text that would still fit is not the next one.
            self.cell.passed = OUTPUT_MAX
        else:
            self.cell.passed += len(data)
        if said:
            self.out.put({"event": "stream", "id": self.cell.number, "name": "stderr" if name == "stderr" else "stdout", "text": said})
        if len(data) > room:
            self.cut(f"The output is cut after {OUTPUT_MAX} bytes.")
        self.count(len(data) if size is None else size)

    def on_late(self, content):
        """What a thread prints while no cell runs: the next cell begins with it."""
        said = text(content.get("text"))[: LATE_MAX - self.late_size]
        if said:
            self.late.append(("stderr" if content.get("name") == "stderr" else "stdout", said))
            self.late_size += len(said)

    def on_flood(self, frames, handle):
        """What is needed of a message that is too long to be parsed: a loop that prints can write so much before the kernel sends it."""
        try:
            at = frames.index(b"<IDS|MSG>")
            kind, parent, content = json.loads(frames[at + 2])["msg_type"], json.loads(frames[at + 3])["msg_id"], frames[at + 5]
            if self.cell is None or parent != self.cell.message:
                return
            if kind == "stream":
                self.on_stream("stderr" if b'"stderr"' in content[:200] else "stdout", beginning(content, b"text", 6 * OUTPUT_MAX), len(content))
            elif kind in ("error", "execute_reply"):
                if kind == "error":
                    self.cut(f"The exception is cut: it takes {len(content)} bytes.")
                name, value = beginning(content, b"ename", 1_000), beginning(content, b"evalue", VALUE_MAX + 1)
                handle(kind, {"status": "error" if name else "ok", "ename": name, "evalue": value, "traceback": [f"{name}: {value}"]} if name else {"status": "ok"}, parent)
            else:
                self.cut(f"The output is cut: something to show takes {len(content)} bytes, and a cell may have {OUTPUT_MAX}.")
                self.count(len(content))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            pass  # forged

    def on_display(self, kind, content):
        given = content.get("data")
        data = bundle(given)
        if isinstance(given, dict) and len(data) < len(given):
            self.cut(f"The output is cut: something to show is nested deeper than {DEPTH_MAX} levels, or has more than {FORMS_MAX} forms.")
        transient = content.get("transient")
        display_id = transient.get("display_id") if isinstance(transient, dict) else None
        display_id = display_id[:200] if isinstance(display_id, str) else None
        if not data or (kind == "update_display_data" and display_id is None):
            return
        cell = self.cell
        room = OUTPUT_MAX - cell.passed
        is_reserve = kind == "execute_result" and room < cell.result_room
        room = cell.result_room if is_reserve else room
        kept, taken, written, left = {}, 0, 0, []
        # Everybody can show text, and it is the smallest.
        for mime in sorted(data, key=lambda name: name != "text/plain"):
            part = data[mime]
            size = size_of(part)
            written += size
            if size <= room - taken:
                kept[mime] = part
                taken += size
                continue
            left.append(mime)
            if mime == "text/plain" and isinstance(part, str):
                if said := part.encode("utf-8", "surrogatepass")[: room - taken].decode("utf-8", "ignore"):
                    kept[mime] = said
                taken = room
                break
        metadata = bundle(content.get("metadata"))
        written += (size := size_of(metadata))
        if size > max(room - taken, RESULT_BYTES):
            metadata, size = {}, 0
        if is_reserve:
            cell.result_room -= min(cell.result_room, taken + size)
        else:
            cell.passed = min(OUTPUT_MAX, cell.passed + taken + size)
        if kept:
            self.out.put({"event": kind, "id": cell.number, "data": kept, "metadata": metadata, "display_id": display_id})
        if left:
            self.cut(f"The output is cut: {left[0]} takes {size_of(data[left[0]])} bytes, more than is left of the {OUTPUT_MAX} that a cell may have.")
        self.count(written)

    def on_error(self, content):
        if self.cell.has_error:
            return
        self.cell.has_error = True
        lines = content.get("traceback")
        whole = [text(line) for line in lines] if isinstance(lines, list) else []
        value = text(content.get("evalue"))
        event = {"event": "error", "id": self.cell.number, "name": text(content.get("ename"))[:1_000], "value": value[:VALUE_MAX]}
        if event["name"] == "StdinNotImplementedError":
            event["value"] = "Nobody can answer input() here: cells run without a keyboard. Write the value into the code."
        # What went wrong is told also when the output is full: where it began, and what it came to.
        lines = [shortened(line, VALUE_MAX) for line in whole]
        while sum(map(len, lines)) > TRACEBACK_MAX:
            lines.pop(len(lines) // 2)
        event["traceback"] = lines
        if lines != whole or len(value) > VALUE_MAX:
            self.cut(f"The exception is cut: its message or its trace is longer than {VALUE_MAX} characters.")
        self.out.put(event)

    def cut(self, why):
        """Says, once for a cell, that some of its output is left out."""
        if not self.cell.is_cut:
            self.cell.is_cut = True
            self.out.put({"event": "truncated", "id": self.cell.number, "why": why})

    def count(self, size):
        self.cell.output += size
        if self.cell.output > OUTPUT_FACTOR * OUTPUT_MAX:
            self.limit("limit_output", f"The cell was ended: it went on to write {OUTPUT_FACTOR} times the {OUTPUT_MAX} bytes that a cell may.")

    def check_ready(self):
        if self.is_ready or self.info is None or not self.seen_idle:
            return
        self.is_ready = True
        self.failed_starts = 0
        lower(self.process.pid)
        self.out.put({"event": "ready", "folders": self.disk.identities, "restarts": self.restarts})
        self.restarts = []
        if not self.environment_sent:
            self.environment_sent = True
            language = self.info.get("language_info")
            version = text(language.get("version")) if isinstance(language, dict) else ""
            self.out.put({"event": "environment", "version": version[:100], "packages": self.packages})
        self.execute()

    def check_done(self):
        if self.cell.reply is not None and self.cell.is_idle:
            self.finish()

    def finish(self):
        cell = self.cell
        reply = cell.reply or {}
        status = reply.get("status") if reply.get("status") in PAIR_STATUSES else "error"
        if status == "error" and cell.limit is None and not cell.is_interrupted and not cell.was_full and is_full():
            # A bomb's first process is refused one more, and the others are there: whether they stay is seen while the cell waits.
            cell.pair_at = time.monotonic() + WATCH_SECONDS
            return
        if status == "error" and not cell.has_error and reply.get("ename"):
            self.on_error(reply)
        payloads = reply.get("payload")
        for payload in payloads if isinstance(payloads, list) else []:
            if isinstance(payload, dict) and payload.get("source") == "page":
                self.on_display("display_data", {"data": payload.get("data"), "metadata": {}})
        if status == "error" and cell.limit is None and not cell.is_interrupted:
            cell.why = hint(text(reply.get("ename")), text(reply.get("evalue")))
        if cell.is_interrupted and status != "ok" and cell.limit is None:
            status = "interrupted"
        elif cell.limit is not None or status == "aborted":
            status = "error"
        is_lost = cell.limit is not None
        self.end_cell(status, cell.why, is_lost, reply.get("execution_count"))
        if is_lost:
            self.restart()

    def end_cell(self, status, why, is_lost, count=None):
        cell, self.cell = self.cell, None
        self.out.put({
            "event": "done", "id": cell.number, "status": status, "limit": cell.limit, "why": why, "ms": round((time.monotonic() - cell.started) * 1000),
            "n": count if isinstance(count, int) and 0 <= count < 1 << 31 else None, "lost": is_lost})

    # Limits

    def watch(self, now):
        cell = self.cell
        if not self.is_ready and self.process is not None:
            if now > self.start_by:
                self.give_up(f"The kernel took no code within {START_SECONDS:.0f} s. {self.read_tail()[-600:]}".strip())
            if now > self.asked_at + 0.25:
                self.ask()
        if cell is not None:
            if cell.kill_at is not None and now > cell.kill_at:
                self.end_cell("error" if cell.limit else "interrupted", cell.why or "The cell did not end when it was interrupted, and lost its kernel.", is_lost=True)
                self.restart()
                return
            if cell.again_at is not None and now > cell.again_at:
                signal_group(self.process.pid, signal.SIGINT)
                cell.again_at = None
            if cell.pair_at is not None and now > cell.pair_at:
                if cell.reply is not None or cell.has_error:
                    self.finish()
                else:
                    self.end_cell("died", "The kernel did not answer the cell.", is_lost=True)
                    self.restart()
                return
            if now > cell.deadline and not self.is_stopped:
                self.limit("limit_time", f"The cell was ended: it took longer than the {CELL_SECONDS:g} s that a cell may.")
        if now >= self.next_watch:
            self.measure(now)

    def measure(self, now):
        self.next_watch = now + (WATCH_SECONDS if self.cell is not None else IDLE_WATCH_SECONDS)
        if self.is_ready:
            lower_sessions()
            if self.cell is None:
                self.halt()
        scratch = names = 0
        for folder in SCRATCH:
            told = os.statvfs(folder)
            scratch += (told.f_blocks - told.f_bfree) * told.f_frsize
            names += told.f_files - told.f_ffree
        # A bomb stays at its limit, where its cell may never get to hear of it, though for moments some of its processes end. One late look is not a long time.
        passed, self.looked_at = min(now - self.looked_at, 5 * WATCH_SECONDS), now
        if self.cell is not None and not self.cell.was_full:
            self.full = max(0.0, self.full + passed if is_full() else self.full - passed / 2)
        if self.full > FULL_SECONDS:
            self.kill_for("limit_processes", f"The cell was ended: it went on with as many processes as there may be, {SETTINGS['processes']} with threads.")
            return
        used = memory_in_use()
        if used + scratch > MEMORY_MAX:
            used = memory_in_use(is_exact=True)
        if used + scratch > MEMORY_MAX:
            self.kill_for("limit_memory", f"The cell was ended: the kernel took more than the {MEMORY_MAX} bytes of memory that it may.")
            return
        if names > NAMES_MAX:
            self.kill_for("limit_disk", f"The cell was ended: it made more than {NAMES_MAX} temporary files.")
            return
        is_over = self.disk.look(now, self.cell.disk if self.cell is not None else self.disk.used)
        if is_over:
            self.kill_for("limit_disk", f"The cell was ended: {is_over}")
            # What it wrote since the walk is no fault of the next cell.
            self.disk.begin()
            self.disk.step(2.0)

    def halt(self):
        """Stops what cells have left running, until the next cell: all processes but the kernel, whose threads may go on."""
        for _ in range(5):
            running = [pid for pid in processes() if pid != self.process.pid and state_of(pid) not in "TtZXx"]
            for pid in running:
                signal_process(pid, signal.SIGSTOP)
            self.halted.update(running)
            if not running:
                break  # nor has one of them started another meanwhile

    def wake_halted(self):
        for pid in self.halted:
            signal_process(pid, signal.SIGCONT)
        self.halted.clear()

    def balance(self):
        """Stops the kernel while the host does not read, and lets it go on when it does. The cell's clock stands still meanwhile."""
        if not self.is_stopped and self.out.size > PENDING_HIGH and self.process is not None and (self.cell is None or self.cell.kill_at is None):
            self.is_stopped = True
            self.stopped_at = time.monotonic()
            signal_group(self.process.pid, signal.SIGSTOP)
        elif self.is_stopped and self.out.size < PENDING_LOW:
            self.resume()

    def resume(self):
        if self.is_stopped:
            self.is_stopped = False
            if self.cell is not None:
                self.cell.deadline += time.monotonic() - self.stopped_at
            signal_group(self.process.pid, signal.SIGCONT)

    # The loop

    def timeout(self, now):
        times = [self.next_watch]
        if not self.is_ready:
            times.append(self.asked_at + 0.25)
        if self.cell is not None:
            times += [t for t in (self.cell.deadline, self.cell.kill_at, self.cell.pair_at, self.cell.again_at) if t is not None]
        if self.disk.is_walking:
            times.append(now)
        return max(0, min(times) - now) * 1000

    def run(self):
        os.set_blocking(0, False)
        self.start()
        self.connect()
        self.disk.first()
        self.packages = packages() if SETTINGS["language"] == "python" else []
        while True:
            poller = zmq.Poller()
            poller.register(0, zmq.POLLIN)
            poller.register(self.wake, zmq.POLLIN)
            if self.process is not None and not self.process.stdout.closed:
                poller.register(self.process.stdout.fileno(), zmq.POLLIN)
            if self.out.size:
                poller.register(1, zmq.POLLOUT)
            poller.register(self.shell, zmq.POLLIN)
            poller.register(self.iopub, zmq.POLLIN)
            ready = dict(poller.poll(self.timeout(time.monotonic())))
            self.out.flush()
            if self.wake in ready:
                try:
                    os.read(self.wake, 4096)
                except BlockingIOError:
                    pass
            self.read_tail()
            has_ended = self.reap()
            # What the kernel said before it ended, and the reply that may be among it.
            self.read_socket(self.iopub, self.on_iopub)
            self.read_socket(self.shell, self.on_shell)
            if has_ended and self.process is not None and self.process.returncode is not None:
                self.died()
            if 0 in ready:
                self.read_commands()
            while self.control is not None:
                try:
                    self.control.recv_multipart(zmq.NOBLOCK)
                except zmq.ZMQError:
                    break
            self.watch(time.monotonic())
            self.balance()


class Disk:
    """What the kernel has added to the folders that it may write to. Names are walked in small steps, and only when the file system tells that something was written."""

    def __init__(self):
        places = [os.stat(folder) for folder in FOLDERS]
        self.identities = [f"{os.major(place.st_dev)}:{os.minor(place.st_dev)}:{place.st_ino}" for place in places]
        self.base = None  # until the first walk is done
        self.used = 0
        self.walk = None
        self.walked_at = 0.0
        self.took = 0.0
        self.free = self.names = 0

    @property
    def is_walking(self):
        return self.walk is not None

    def first(self):
        self.begin()
        if self.step(1.0):
            self.base = self.used

    def begin(self):
        self.free, self.names = self.left()
        self.walk = self.steps()
        self.took = 0.0

    def step(self, seconds):
        """Goes on with the walk. True: it is done."""
        started = time.monotonic()
        for total in self.walk:
            if total is not None:
                self.used = total
                self.walk = None
                break
            if time.monotonic() > started + seconds:
                break
        now = time.monotonic()
        self.took += now - started
        self.walked_at = now
        return self.walk is None

    def look(self, now, at_start):
        """Why the cell has to end; None: it has not."""
        if self.walk is None:
            free, names = self.left()
            written = self.free - free > DISK_MAX // 16 or self.names - names > 10_000
            if now - self.walked_at > (5 * self.took if written else 2 + 50 * self.took):
                self.begin()
        if self.walk is None or not self.step(0.02):
            return None
        if self.base is None:
            self.base = self.used
        added = self.used - self.base
        if self.used <= at_start:
            return None  # it has added nothing, and may be about to tidy up
        if added > DISK_MAX:
            return f"its kernel added {added} bytes to the workspace, more than the {DISK_MAX} that it may."
        for told in map(os.statvfs, WRITABLE):
            if told.f_bavail * told.f_frsize < min(RESERVE_MAX, told.f_blocks * told.f_frsize // 20) and self.used - at_start > DISK_MAX // 64:
                return "the disk of the workspace is nearly full."
        return None

    @staticmethod
    def left():
        """Bytes and names that are free where the kernel may write; a disk counts as often as it has such a folder."""
        told = [os.statvfs(folder) for folder in WRITABLE]
        return sum(t.f_bfree * t.f_frsize for t in told), sum(t.f_ffree for t in told)

    def steps(self):
        total = 0
        folders = list(WRITABLE)
        while folders:
            folder = folders.pop()
            try:
                entries = os.scandir(folder)
            except PermissionError:
                try:
                    os.chmod(folder, 0o700)  # the cell's own, and none to hide in
                    entries = os.scandir(folder)
                except OSError:
                    continue
            except OSError:
                continue
            with entries:
                for count, entry in enumerate(entries):
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    total += max(status.st_blocks * 512, NAME_BYTES)
                    if stat.S_ISDIR(status.st_mode):
                        folders.append(entry.path)
                    if count % 256 == 255:
                        yield None
            yield None
        yield total + self.unnamed()

    def unnamed(self):
        """Bytes of files without a name that a process still has open."""
        seen = {}
        for pid in processes():
            try:
                names = os.listdir(f"/proc/{pid}/fd")
            except PermissionError:
                signal_process(pid, signal.SIGKILL)  # nothing here hides its files
                continue
            except OSError:
                continue
            for name in names:
                try:
                    place = os.readlink(f"/proc/{pid}/fd/{name}")
                    status = os.stat(f"/proc/{pid}/fd/{name}")
                except OSError:
                    continue
                if status.st_nlink == 0 and place.startswith(tuple(WRITABLE)):
                    seen[status.st_ino] = status.st_blocks * 512
        return sum(seen.values())


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]


def state_of(pid):
    """Letter of a process's state, as /proc has it; X: it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1].decode()
    except OSError:
        return "X"


def lower(pid):
    """Gives a process the priority of cells, which all that it starts inherits and cannot raise. A kernel starts with a higher one."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for thread in threads:
        try:
            os.setpriority(os.PRIO_PROCESS, int(thread), NICE)
            os.sched_setscheduler(int(thread), os.SCHED_BATCH, os.sched_param(0))
        except OSError:
            continue  # it has ended


def lower_sessions():
    """Where Linux shares processors among sessions first, each session of the sandbox gets a small share. It takes one such change in a tenth of a second."""
    for pid in processes():
        try:
            with open(f"/proc/{pid}/autogroup", "r+") as file:
                if int(file.read().rpartition("nice ")[2]) >= NICE:
                    continue
                file.write(str(NICE))
        except BlockingIOError:
            break
        except (OSError, ValueError):
            continue


def tasks():
    """Threads of all processes."""
    count = 0
    for pid in ["1", *processes()]:
        try:
            count += len(os.listdir(f"/proc/{pid}/task"))
        except OSError:
            continue
    return count


PAGE = os.sysconf("SC_PAGE_SIZE")


def memory_in_use(is_exact=False):
    """Bytes of all processes but this one. The quick count has what is shared once for each of them."""
    total = 0
    for pid in processes():
        try:
            if is_exact:
                with open(f"/proc/{pid}/smaps_rollup") as file:
                    total += next(int(line.split()[1]) << 10 for line in file if line.startswith("Pss:"))
            else:
                with open(f"/proc/{pid}/statm") as file:
                    total += int(file.read().split()[1]) * PAGE
        except PermissionError:
            signal_process(pid, signal.SIGKILL)
        except (OSError, StopIteration, ValueError, IndexError):
            continue
    return total


def is_full():
    """As many processes as there may be. bubblewrap counts, too, and cannot be seen."""
    return tasks() >= SETTINGS["processes"] - 2


def hint(name, value):
    """What is said of an exception that Linux's limits may have raised, with the figures of this kernel; None: it speaks for itself."""
    if name.endswith("MemoryError"):
        figures = f"A kernel may use {MEMORY_MAX} bytes of memory."
    elif (name == "BlockingIOError" and "[Errno 11]" in value) or "can't start new thread" in value:
        figures = f"A kernel may have {SETTINGS['processes']} processes, threads included."
    elif name == "OSError" and ("[Errno 28]" in value or "[Errno 27]" in value):
        figures = f"A kernel may add {DISK_MAX} bytes to its workspace, and write {SETTINGS['scratch_bytes']} to /tmp."
    else:
        return None
    return f"{name}: {value[:1_000]} ({figures})" if value else f"{name} ({figures})"


def beginning(content, name, size):
    """The first bytes of a member's text in JSON that is too long to be parsed; empty: it has none."""
    begin = re.search(rb'"' + name + rb'":\s*"', content)
    if begin is None:
        return ""
    piece = content[begin.end() : begin.end() + size]
    end = -1
    while (end := piece.find(b'"', end + 1)) >= 0:
        slash = end
        while slash > 0 and piece[slash - 1] == 0x5C:
            slash -= 1
        if (end - slash) % 2 == 0:
            piece = piece[:end]
            break
    # The cut may have gone through a character.
    return next((said for cut in range(16) if (said := unquoted(piece[: len(piece) - cut])) is not None), "")


def unquoted(data):
    """The text that stands between two quotes of JSON; None: it is none."""
    try:
        said = json.loads(b'"' + data + b'"')
    except ValueError:
        return None
    return said if isinstance(said, str) else None


def shortened(line, size):
    """A long text without its middle."""
    return line if len(line) <= size else f"{line[: size // 2]} … {line[-size // 2 :]}"


def size_of(value):
    """Bytes of a text, or of JSON."""
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return len(said.encode("utf-8", "surrogatepass"))


def text(value):
    return value if isinstance(value, str) else "" if value is None else str(value)


def bundle(value):
    """A MIME bundle of untrusted origin: texts, and JSON that is not too deep."""
    if not isinstance(value, dict):
        return {}
    return {key[:200]: part for key, part in list(value.items())[:FORMS_MAX] if isinstance(key, str) and fits(part)}


def fits(value):
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEPTH_MAX:
            return False
        level = [
            inner for part in level if isinstance(part, (dict, list)) for inner in (part.values() if isinstance(part, dict) else part) if isinstance(inner, (dict, list))]
    return True


def packages():
    """Names and versions of what can be imported, sorted by name."""
    found = {}
    for distribution in importlib.metadata.distributions():
        try:
            name, version = distribution.metadata["Name"], distribution.version
        except Exception:  # one broken package must not hide the others
            continue
        if isinstance(name, str) and isinstance(version, str):
            found.setdefault(name, version)
    return sorted(found.items())


def clear(folder):
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, onerror=open_and_retry)
        else:
            os.unlink(path)


def open_and_retry(function, path, _):
    """A folder that its owner closed is opened, and removed after all."""
    try:
        os.chmod(os.path.dirname(path), 0o700)
        os.chmod(path, 0o700)
        shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.unlink(path)
    except OSError:
        pass


def signal_group(pid, number):
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass


def signal_process(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def leave():
    """Ends the sandbox: what runs in it goes first, so that nobody outside sees it outlive this process."""
    try:
        os.kill(-1, signal.SIGKILL)
        while True:
            os.waitpid(-1, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
    os._exit(0)


def main():
    # When the machine runs out of memory, cells go first.
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("800")
    # Nobody in the sandbox may look into this process: not at its descriptors, not at its memory.
    if ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) != 0:
        raise OSError("prctl")
    # A signal that has a handler reaches a first process also from those below it; a handler, unlike SIG_IGN, is not handed on to the kernel.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    Bridge().run()


main()
