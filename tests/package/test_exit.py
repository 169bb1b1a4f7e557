"""What is dropped at the very end of the interpreter says nothing, though modules have lost their names by then."""

from __future__ import annotations

from types import ModuleType

from support.processes import python

LATE = """
import asyncio, sys
import oxisock.{impl} as o

class Last:
    # Goes when the interpreter takes names from modules, which is later for what others hold where no lock holds all.
    def __init__(self, held):
        self.held = held
        self.modules = [vars(sys.modules[name]) for name in {modules}]

    def __del__(self):
        for names in self.modules:
            for name in list(names):
                if not name.startswith("__"):
                    names[name] = None
        self.held.clear()

server = o.EchoServer().start()
loop = asyncio.new_event_loop()
run = loop.run_until_complete
listening = run(o.aio.start_server(lambda stream, peer: None, codec=o.Lines()))
last = Last([server, loop, listening, run(o.aio.open_framed(*server.address, o.Lines()))])
del server, loop, listening, run
print("out")
"""


def test_whoever_is_dropped_when_modules_have_lost_their_names_says_nothing(impl: ModuleType) -> None:
    modules = ["oxisock.serving.lifecycle", "oxisock.aio.server", "oxisock.aio.stream"]
    done = python(LATE.format(impl=impl.impl, modules=modules))
    assert (done.returncode, done.stdout) == (0, "out\n")
    assert "NoneType" not in done.stderr, done.stderr
