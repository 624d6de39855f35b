#!/usr/bin/env python3
"""An agent program that speaks the language named by its first argument (codex, claude, pi or acp) and does what its user says: each message is a script that it runs as a tool of its own.

It behaves as the real programs were measured to: commands have a session of their own, an interrupted codex lets them run on until its terminals are cleaned, what was said before is found again by the session's name, and the end of stdin is the end. Sessions are kept in the directory `.sessions` of the place it works in. A message `say TEXT` is answered without a tool, `crash` ends the program, `silence` says nothing for ever, `ask SCRIPT` asks before it runs the script.
"""
import json, os, signal, subprocess, sys, threading, uuid

KIND = sys.argv[1]
LOCK = threading.RLock()


def out(message):
    with LOCK:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


class Program:
    """What all four have in common; the languages are below."""

    session = None
    turn = 0
    command = None
    stopped = False

    def open_session(self, name):
        """Finds the session of this name, or begins another one. False if it is not there."""
        os.makedirs(".sessions", exist_ok=True)
        if name is not None and not os.path.exists(name if "/" in name else f".sessions/{name}"):
            return False
        self.session = name or self.new_name()
        return True

    def new_name(self):
        name = str(uuid.uuid4())
        open(f".sessions/{name}", "w").close()
        return name

    def file(self):
        return self.session if "/" in self.session else f".sessions/{self.session}"

    def work(self, text):
        threading.Thread(target=self.run, args=(text,), daemon=True).start()

    def run(self, text):
        with open(self.file(), "a") as file:
            file.write(text.replace("\n", " ") + "\n")
        with open(self.file()) as file:
            self.turn = len(file.readlines())
        if text == "silence":
            return
        if text == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if text.startswith("say "):
            return self.end(text[4:])
        call = "call_" + uuid.uuid4().hex[:8]
        if text.startswith("ask "):
            text = text[4:]
            if not self.permitted(call, text):
                self.call_ended(call, text, "", None)
                return self.end("refused")
        self.call_began(call, text)
        with LOCK:
            if self.stopped:
                return
            self.command = subprocess.Popen(["/bin/bash", "-c", text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        whole = b""
        for piece in iter(lambda: os.read(self.command.stdout.fileno(), 65536), b""):
            whole += piece
            self.call_printed(call, piece.decode(errors="replace"), whole.decode(errors="replace"))
        code = self.command.wait()
        with LOCK:
            if self.stopped:
                return
            self.command = None
            self.call_ended(call, text, whole.decode(errors="replace"), code)
            self.end(f"done, turn {self.turn}")

    def stop(self, kill=True):
        """The turn is over, whatever it does."""
        with LOCK:
            self.stopped = True
            if kill and self.command:
                os.killpg(self.command.pid, signal.SIGKILL)

    def clean(self):
        if self.command:
            os.killpg(self.command.pid, signal.SIGKILL)

    answers = {}

    def wait_for(self, key):
        event = threading.Event()
        self.answers[key] = [event, None]
        return event

    def permitted(self, call, text):
        event = self.wait_for(call)
        self.ask(call, text)
        event.wait()
        return self.answers.pop(call)[1]

    def answered(self, key, value):
        if key in self.answers:
            self.answers[key][1] = value
            self.answers[key][0].set()


class Claude(Program):
    def __init__(self):
        resume = sys.argv[sys.argv.index("--resume") + 1] if "--resume" in sys.argv else None
        self.lost = not self.open_session(resume)

    def heard(self, line):
        if line["type"] == "control_request":
            out({"type": "control_response", "response": {"subtype": "success", "request_id": line["request_id"], "response": {}}})
            if line["request"]["subtype"] == "interrupt":
                self.stop()
                out({"type": "result", "subtype": "error_during_execution", "is_error": True, "terminal_reason": "aborted_tools", "session_id": self.session})
        elif line["type"] == "control_response":
            response = line["response"]
            self.answered(response["request_id"], response["response"]["behavior"] == "allow")
        elif line["type"] == "user":
            if self.lost:
                return out({"type": "result", "subtype": "error_during_execution", "is_error": True, "errors": ["No conversation found with session ID"]})
            out({"type": "system", "subtype": "init", "session_id": self.session, "model": "claude-fake"})
            self.work(line["message"]["content"][0]["text"])

    def block(self, role, block):
        out({"type": role, "message": {"role": role, "content": [block]}, "parent_tool_use_id": None, "session_id": self.session})

    def ask(self, call, text):
        request = {"subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": text}, "tool_use_id": call}
        out({"type": "control_request", "request_id": call, "request": request})

    def call_began(self, call, text):
        self.block("assistant", {"type": "tool_use", "id": call, "name": "Bash", "input": {"command": text}})

    def call_printed(self, call, piece, whole):
        pass

    def call_ended(self, call, text, whole, code):
        failed = {"type": "tool_result", "tool_use_id": call, "is_error": True, "content": f"Exit code {code}\n{whole}" if code is not None else "refused"}
        self.block("user", failed if code != 0 else {"type": "tool_result", "tool_use_id": call, "content": whole})

    def end(self, text):
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        out({"type": "stream_event", "event": block, "parent_tool_use_id": None})
        for part in [text[:4], text[4:]]:
            event = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": part}}
            out({"type": "stream_event", "event": event, "parent_tool_use_id": None})
        self.block("assistant", {"type": "text", "text": text})
        usage = {"claude-fake": {"inputTokens": 100, "outputTokens": 20, "cacheReadInputTokens": 0, "cacheCreationInputTokens": 0, "costUSD": 0.001}}
        out({"type": "result", "subtype": "success", "is_error": False, "result": text, "model_usage_since_last_result": usage})


class Codex(Program):
    def heard(self, line):
        method, params = line.get("method"), line.get("params") or {}
        answer = lambda result: out({"id": line["id"], "result": result})
        if method is None:
            self.answered(line["id"], line["result"]["decision"] == "accept")
        elif method in ("thread/start", "thread/resume"):
            if not self.open_session(params.get("threadId")):
                return out({"id": line["id"], "error": {"code": -32600, "message": "no rollout found"}})
            answer({"thread": {"id": self.session}, "model": "fake-model"})
        elif method == "turn/start":
            answer({"turn": {"id": "turn-1", "status": "inProgress"}})
            self.note("turn/started", {"turn": {"id": "turn-1"}})
            self.work(params["input"][0]["text"])
        elif method == "turn/interrupt":
            # The command runs on, and nothing is said of it.
            self.stop(kill=False)
            answer({})
            self.note("turn/completed", {"turn": {"id": "turn-1", "status": "interrupted"}})
        elif method == "thread/backgroundTerminals/clean":
            self.clean()
            answer({})
        elif "id" in line:
            answer({})

    def note(self, method, params):
        out({"method": method, "params": {"threadId": self.session, "turnId": "turn-1", **params}})

    def item(self, event, call, text, **more):
        item = {"type": "commandExecution", "id": call, "command": f"/bin/bash -lc '{text}'", "cwd": os.getcwd(), "commandActions": [{"type": "unknown", "command": text}]}
        self.note(event, {"item": {**item, **more}})

    def ask(self, call, text):
        params = {"itemId": call, "threadId": self.session, "command": text, "cwd": os.getcwd(), "commandActions": [{"type": "unknown", "command": text}]}
        out({"id": call, "method": "item/commandExecution/requestApproval", "params": params})

    def call_began(self, call, text):
        self.item("item/started", call, text, status="inProgress")

    def call_printed(self, call, piece, whole):
        # The first piece comes with the end only.
        if piece != whole:
            self.note("item/commandExecution/outputDelta", {"itemId": call, "delta": piece})

    def call_ended(self, call, text, whole, code):
        status = "declined" if code is None else "completed" if code == 0 else "failed"
        self.item("item/completed", call, text, status=status, exitCode=code, aggregatedOutput=whole)

    def end(self, text):
        for part in [text[:4], text[4:]]:
            self.note("item/agentMessage/delta", {"itemId": "message-1", "delta": part})
        self.note("item/completed", {"item": {"type": "agentMessage", "id": "message-1", "text": text}})
        tokens = {"inputTokens": 100, "cachedInputTokens": 0, "outputTokens": 20}
        self.note("thread/tokenUsage/updated", {"tokenUsage": {"total": tokens, "last": tokens}})
        self.note("turn/completed", {"turn": {"id": "turn-1", "status": "completed"}})


class Pi(Program):
    def __init__(self):
        self.open_session(sys.argv[sys.argv.index("--session") + 1] if "--session" in sys.argv else None)

    def new_name(self):
        return os.path.abspath(".sessions/" + super().new_name())

    def heard(self, line):
        kind = line["type"]
        data = {"sessionFile": self.session, "isStreaming": False, "model": {"id": "fake-model"}} if kind == "get_state" else None
        out({"id": line.get("id"), "type": "response", "command": kind, "success": True, "data": data})
        if kind == "prompt":
            out({"type": "agent_start"})
            self.work(line["message"])
        elif kind == "abort":
            self.stop()
            self.message([], "aborted")
            out({"type": "agent_end", "willRetry": False})
            out({"type": "agent_settled"})

    def message(self, content, stop):
        usage = {"input": 100, "output": 20, "cacheRead": 0, "cacheWrite": 0, "cost": {"total": 0.001}}
        message = {"role": "assistant", "content": content, "model": "fake-model", "usage": usage, "stopReason": stop}
        out({"type": "message_end", "message": message})

    def call_began(self, call, text):
        self.text = text
        self.message([{"type": "toolCall", "id": call, "name": "bash", "arguments": {"command": text}}], "toolUse")
        out({"type": "tool_execution_start", "toolCallId": call, "toolName": "bash", "args": {"command": text}})

    def call_printed(self, call, piece, whole):
        result = {"content": [{"type": "text", "text": whole}]}
        out({"type": "tool_execution_update", "toolCallId": call, "toolName": "bash", "partialResult": result})

    def call_ended(self, call, text, whole, code):
        words = whole or "(no output)"
        if code:
            words = f"{whole}\n\nCommand exited with code {code}"
        result = {"content": [{"type": "text", "text": words}]}
        out({"type": "tool_execution_end", "toolCallId": call, "toolName": "bash", "result": result, "isError": code != 0})

    def end(self, text):
        out({"type": "message_start", "message": {"role": "assistant", "content": []}})
        for part in [text[:4], text[4:]]:
            out({"type": "message_update", "assistantMessageEvent": {"type": "text_delta", "contentIndex": 0, "delta": part}})
        self.message([{"type": "text", "text": text}], "stop")
        out({"type": "agent_end", "willRetry": False})
        out({"type": "agent_settled"})


class Acp(Program):
    prompt = None

    def heard(self, line):
        method, params = line.get("method"), line.get("params") or {}
        answer = lambda result: out({"jsonrpc": "2.0", "id": line["id"], "result": result})
        if method is None:
            self.answered(line["id"], line["result"]["outcome"].get("optionId") == "yes")
        elif method == "initialize":
            answer({"protocolVersion": 1, "agentCapabilities": {"loadSession": False, "sessionCapabilities": {"resume": {}}}})
        elif method in ("session/new", "session/resume"):
            if not self.open_session(params.get("sessionId")):
                return out({"jsonrpc": "2.0", "id": line["id"], "error": {"code": -32002, "message": "no such session"}})
            answer({"sessionId": self.session})
        elif method == "session/prompt":
            self.prompt = line["id"]
            self.work(params["prompt"][0]["text"])
        elif method == "session/cancel":
            self.stop()
            self.done("cancelled")
        elif "id" in line:
            answer({})

    def done(self, reason):
        if self.prompt is not None:
            usage = {"inputTokens": 100, "outputTokens": 20}
            out({"jsonrpc": "2.0", "id": self.prompt, "result": {"stopReason": reason, "usage": usage}})
            self.prompt = None

    def update(self, update):
        out({"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": self.session, "update": update}})

    def call(self, call, text):
        return {"toolCallId": call, "title": text, "kind": "execute", "rawInput": {"command": text, "cwd": os.getcwd()}}

    def ask(self, call, text):
        options = [{"optionId": "yes", "name": "Yes", "kind": "allow_once"}, {"optionId": "no", "name": "No", "kind": "reject_once"}]
        params = {"sessionId": self.session, "toolCall": {**self.call(call, text), "status": "pending"}, "options": options}
        out({"jsonrpc": "2.0", "id": call, "method": "session/request_permission", "params": params})

    def call_began(self, call, text):
        self.update({"sessionUpdate": "tool_call", "status": "in_progress", **self.call(call, text)})

    def call_printed(self, call, piece, whole):
        content = [{"type": "content", "content": {"type": "text", "text": whole}}]
        self.update({"sessionUpdate": "tool_call_update", "toolCallId": call, "status": "in_progress", "content": content})

    def call_ended(self, call, text, whole, code):
        status = "completed" if code == 0 else "failed"
        raw = {"output": whole, "metadata": {"exit": code}}
        self.update({"sessionUpdate": "tool_call_update", "toolCallId": call, "status": status, "rawOutput": raw})

    def end(self, text):
        for part in [text[:4], text[4:]]:
            self.update({"sessionUpdate": "agent_message_chunk", "messageId": "m", "content": {"type": "text", "text": part}})
        self.done("end_turn")


program = {"claude": Claude, "codex": Codex, "pi": Pi, "acp": Acp}[KIND]()


def ended(*_):
    program.clean()
    os._exit(0)


signal.signal(signal.SIGTERM, ended)
for line in sys.stdin:
    program.heard(json.loads(line))
ended()
