"""
The process that a Rego policy lives in: a query may run for ever, and take memory without bound.

It is run as a script, with nothing of ours on the path: the standard library and C{regopy}.

    python -I -S rego_worker.py FOLDER_OF_REGOPY MEMORY SECONDS serve|check

Standard input has a line of JSON with the policy: C{modules} by name, C{data}, C{query}; then a line with an input for
each question. Standard output has a line for each: C{true}, C{false}, or C{{"error": ...}}. With C{check} there is one
line, about the policy itself. It ends with its standard input; where a question takes too long the system ends it.
Where the machine has no memory left, Linux ends this process before any other.

All strings are in JSON, as short as JSON has them (C{ensure_ascii=False}): regopy compares strings as they are
escaped in its sources, and cuts those of its other interface at a NUL.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import tempfile
from contextlib import suppress
from typing import Any

#: A peer of whom nothing is known.
NOBODY = "{}"
_PR_SET_PDEATHSIG = 1
#: The most that a check may write, in bytes: the plan of the policy.
_PLAN = 1 << 26


def main() -> None:
    """Answer until there is nothing more to answer."""
    folder, memory, seconds, what = sys.argv[1:]
    sys.path.append(folder)
    answers = os.dup(1)
    os.dup2(2, 1)  # what the library prints is no answer
    import regopy

    end_with_parent()
    confine(int(memory), _PLAN if what == "check" else 0)
    limit(float(seconds))
    policy = json.loads(sys.stdin.buffer.readline())
    interpreter = regopy.Interpreter()
    load(interpreter, policy)
    if what == "check":
        tell(answers, checked(interpreter, policy["query"]))
        return
    bundle = interpreter.build(policy["query"])
    limit(0)
    for line in sys.stdin.buffer:
        limit(float(seconds))
        tell(answers, answer(interpreter, bundle, line))
        limit(0)


def end_with_parent() -> None:
    """Where the system can, end when who has started this does, also in the middle of a question (prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def confine(memory: int, writes: int) -> None:
    """
    Give up what a policy does not need. The address space counts from what there is by now: the library's allocator
    has reserved 256 GiB, which it will not use. Several processes of several policies may still take more than there
    is: then these are what Linux kills first, and not the service (proc_pid_oom_score_adj(5)).
    """
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:  # Linux has it
        score.write("1000")
    lower(resource.RLIMIT_CORE, 0)
    lower(resource.RLIMIT_FSIZE, writes)
    lower(resource.RLIMIT_NPROC, 0)
    lower(resource.RLIMIT_NOFILE, 32)
    try:
        with open("/proc/self/statm", encoding="ascii") as sizes:
            pages = int(sizes.read().split()[0])
    except OSError:  # not on Linux, where alone this limit is kept
        return
    lower(resource.RLIMIT_AS, pages * resource.getpagesize() + memory)


def lower(which: int, most: int) -> None:
    """Lower one limit for good."""
    hard = resource.getrlimit(which)[1]
    limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (limit, limit))


def limit(seconds: float) -> None:
    """The system ends this process after so many seconds, whatever it is in by then; 0 is never."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def load(interpreter: Any, policy: dict[str, Any]) -> None:
    """The policy, into the interpreter."""
    for name, source in policy["modules"].items():
        interpreter.add_module(name, source)
    if policy["data"]:
        interpreter.add_data_json(json.dumps(policy["data"], ensure_ascii=False))


def answer(interpreter: Any, bundle: Any, line: bytes | str) -> Any:
    """Whether the query is true for this input, and nothing but true."""
    try:
        interpreter.set_input_term(json.dumps(json.loads(line), ensure_ascii=False))
        output = interpreter.query_bundle(bundle)
        if not output.ok():
            return {"error": "its query fails"}
        expressions = [each for result in output.results for each in result.expressions]
    except Exception as error:  # the library raises what it likes, and must not be asked what happened
        return {"error": f"its query fails with {type(error).__name__}"}
    return len(expressions) == 1 and expressions[0] is True


def checked(interpreter: Any, query: str) -> dict[str, Any]:
    """The rules that there are, and what goes wrong where nobody has a certificate."""
    tried = answer(interpreter, interpreter.build(query), NOBODY)
    with tempfile.TemporaryDirectory(dir=writable()) as folder:
        where = os.path.join(folder, "plan")
        interpreter.save_bundle(where, interpreter.build("data"))
        with open(os.path.join(where, "plan.json"), encoding="utf-8") as file:
            functions = json.load(file)["funcs"]["funcs"]
    paths = [each["path"][1:] for each in functions]
    rules = [path for path in paths if not any("$" in part for part in path)]
    return {"rules": rules, "error": tried["error"] if isinstance(tried, dict) else None}


def writable() -> str:
    """A folder for what is gone in a moment; a container may have no C{/tmp}."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        return "/dev/shm"


def tell(answers: int, value: Any) -> None:
    """One line."""
    os.write(answers, json.dumps(value).encode("ascii") + b"\n")


if __name__ == "__main__":
    main()
