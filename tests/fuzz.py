"""Feed damaged and hostile files to every reader of files, and count what becomes of them.

Run: python -m tests.fuzz --inputs 100000 --seed 0

A reader may read a file or refuse it in one line. It fails where it raises anything else, dies,
takes over 2 seconds of CPU or 1 GiB, runs a program, unpickles a function, or writes to another
folder than its own. Inputs that fail are kept.

An input is a small valid file (tests/fuzz_readers.py) that is changed a few times: bytes, spans,
tokens; and by its form, so that the reader gets past checksums and lengths: values of JSON, entries
of archives, headers of arrays, chunks of PNG. An input that is refused with a new message is
changed further. That stands in for the coverage of a fuzzer such as atheris, which installs in
seconds but on some systems only, ends at its first failure, and would have to instrument torch.
"""

import argparse
import contextlib
import copy
import io
import json
import os
import pickle
import random
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from utils.errors import UserError

SECONDS, BYTES = 2, 2**30
LONGEST = 200_000  # bytes of an input
KEPT = 300  # inputs of a reader that are changed further
VALUES = [
    *[None, True, False, 0, -1, 1, 0.5, 2**31, 2**63, -(2**64), 10**400, 1e308, -0.0],
    *[float("nan"), float("inf"), "", "x", " ", "a.jpg", "sea", "\x00\x1b[31m", "9" * 400],
    *["=1+1", "\ud800", "\u202e", "../../x", "/etc/passwd", "x" * 5000],
    *[[], [1], [[]], {}, {"a": 1}, [None], ["sea", 1], {"": {}}],
]
DEEP = b"[" * 100_000
TOKENS = [
    *[b"\0", b"\r\n", b"\n", b"\t", b",", b";", b"|", b'"', b"'", b"\\", b"[", b"]", b"{", b"}"],
    *[b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\x1b[2J", b"\xe2\x80\xa8"],
    *[b"NaN", b"-Infinity", b"null", b"true", b"-1", b"1e999", b"9" * 401, b"9" * 5000, b"0x10"],
    *[b"=1+1", b"../", b"/", b"%s", b"<!--", b"&lt;", b"&x;", b'<!DOCTYPE a [<!ENTITY x "y">]>'],
    *[b"sea|sand", b"['a', 'b']", b"array(['a'], dtype=object)", b"train", b"test", b"yes"],
    *[b"path", b"labels", b"x" * 4000, b"[" * 2000, b"{'a':" * 2000, b"(" * 3000, b"-" * 5000],
    *[b"cos\nsystem\n(S'touch ran'\ntR.", b"\x80\x04", b"PK\x03\x04", b"\x93NUMPY", b"\x89PNG"],
]
NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]
FORBIDDEN = {"os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork"}
FORBIDDEN |= {"os.spawn", "pickle.find_class", "socket.connect"}


class Reader(NamedTuple):
    """A reader of files.

    file: what is changed, as a path in the reader's folder. seeds: valid contents. form: name in
    FORMS. read: takes the folder; returns None where it takes the file for damaged.
    """

    file: str
    seeds: list
    form: str
    read: object


class Trespass(BaseException):
    """Something that no reader may do; no `except Exception` hides it."""


# ---------------------------------------------------------------- changes


def places(content, here=()):
    """Keys that lead to each part of nested dicts and lists, but not to the whole."""
    if here:
        yield here
    if isinstance(content, dict | list | tuple):
        keys = content if isinstance(content, dict) else range(len(content))
        for key in keys:
            yield from places(content[key], (*here, key))


def changed(content, place, value):
    """A copy with another value at a place."""
    if not place:
        return value
    result = dict(content) if isinstance(content, dict) else list(content)
    result[place[0]] = changed(result[place[0]], place[1:], value)
    return result


def change_bytes(content, chance, others):
    """Change a span of a few bytes, or put something between them."""
    start = chance.randrange(len(content) + 1)
    span = min(int(chance.expovariate(0.1)) + 1, len(content))
    before, here, after = content[:start], content[start : start + span], content[start + span :]
    match chance.randrange(9):
        case 0:
            return before + bytes(byte ^ 1 << chance.randrange(8) for byte in here) + after
        case 1:
            return before + after
        case 2:
            return before + here * chance.choice([2, 3, 1000]) + after
        case 3:
            other = chance.choice(others)
            begin = chance.randrange(len(other) + 1)
            return before + other[begin : begin + 10 * span] + after
        case 4:
            return before + chance.choice(TOKENS) + here + after
        case 5:
            return before + chance.choice(TOKENS) + after
        case 6:
            size = chance.choice([1, 2, 4, 8])
            number = chance.choice(NUMBERS) % 256**size
            return before + number.to_bytes(size, chance.choice(["little", "big"])) + after[size:]
        case 7:
            return before if chance.random() < 0.3 else before + chance.randbytes(span) + after
    numbers = list(re.finditer(rb"\d+", content))
    if not numbers:
        return content
    found = chance.choice(numbers)
    value = chance.choice([str(number).encode() for number in (*NUMBERS, 10**400, -1)])
    return content[: found.start()] + value + content[found.end() :]


def change_lines(content, chance, others):
    """Change a line as a whole, or bytes."""
    lines = content.splitlines(keepends=True)
    if chance.random() < 0.5 or not lines:
        return change_bytes(content, chance, others)
    at = chance.randrange(len(lines))
    match chance.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, chance.choice(lines))
        case 2:
            lines[at] = chance.choice(chance.choice(others).splitlines(keepends=True) or [b""])
        case 3:
            lines[at] *= chance.choice([2, 500])
    return b"".join(lines)


def change_json(content, chance, others):
    """Change one value of JSON, or of a line of it."""
    lines = content.splitlines(keepends=True) or [b""]
    at = chance.randrange(len(lines))
    whole = chance.random() < 0.9
    try:
        found = json.loads(content if whole else lines[at])
    except (ValueError, RecursionError):
        try:
            whole, found = False, json.loads(lines[at])
        except (ValueError, RecursionError):
            return change_bytes(content, chance, others)
    if chance.random() < 0.15:
        return change_bytes(content, chance, others)
    place = chance.choice([(), *places(found)]) if found else ()
    value = chance.choice(VALUES)
    if chance.random() < 0.2:  # what stands elsewhere in the file
        value = found
        for key in chance.choice([(), *places(found)]) if found else ():
            value = value[key]
        value = copy.deepcopy(value)
    kind = chance.randrange(8)
    if kind == 0 and place:
        parent = found
        for key in place[:-1]:
            parent = parent[key]
        del parent[place[-1]]
    elif kind == 1 and place:
        parent = found
        for key in place[:-1]:
            parent = parent[key]
        if isinstance(parent, list):
            parent *= chance.choice([2, 300])
        else:
            parent[chance.choice(["", "id", "labels", "\udcff", "x" * 300, *parent])] = value
    else:
        found = changed(found, place, value)
    text = json.dumps(
        found, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, None, 1])
    )
    text = text.encode("utf-8", "surrogatepass")
    if kind == 2:
        text = text.replace(b"true", DEEP[: chance.choice([500, 100_000])], 1)
    return text if whole else b"".join([*lines[:at], text, b"\n", *lines[at + 1 :]])


def change_entry(content, chance, others):
    """Change an entry of an archive, whose checksum then is right again."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [(info, archive.read(info)) for info in archive.infolist()]
    except Exception:  # changed before
        entries = []
    if not entries or chance.random() < 0.2:
        return change_bytes(content, chance, others)
    at = chance.randrange(len(entries))
    if chance.random() < 0.6:  # what says what the others are: a pickle, a sheet
        told = [
            k
            for k, (info, _) in enumerate(entries)
            if re.search("pkl|sheet1|String", info.filename)
        ]
        at = chance.choice(told or [at])
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w") as archive:
        for number, (info, text) in enumerate(entries):
            if number == at:
                text = change_bytes(text, chance, [text])
                if chance.random() < 0.02:
                    text += b" " * 9_000_000
                    info.compress_type = zipfile.ZIP_DEFLATED
            if number != at or chance.random() > 0.05:
                archive.writestr(info, text)
    return result.getvalue()


def change_header(content, chance, others):
    """Change the header of an array or a .safetensors file, and set its length right again."""
    sizes = {"<H": (8, 10), "<Q": (0, 8)}
    form = "<H" if content.startswith(b"\x93NUMPY") else "<Q"
    begin, end = sizes[form]
    if len(content) < end or chance.random() < 0.4:
        return change_bytes(content, chance, others)
    (size,) = struct.unpack(form, content[begin:end])
    header = content[end : end + size]
    change = change_json if form == "<Q" else change_bytes
    header = change(header, chance, [header or b" "])[:60_000]
    return content[:begin] + struct.pack(form, len(header)) + header + content[end + size :]


def change_chunk(content, chance, others):
    """Change a chunk of a PNG file, whose checksum then is right again."""
    at, chunks = 8, []
    while at + 12 <= len(content):
        (size,) = struct.unpack(">I", content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    if not chunks or chance.random() < 0.4:
        return change_bytes(content, chance, others)
    at = chance.randrange(len(chunks))
    chunks[at] = chunks[at][0], change_bytes(chunks[at][1], chance, [content])
    parts = [
        struct.pack(">I", len(text)) + kind + text + struct.pack(">I", zlib.crc32(kind + text))
        for kind, text in chunks
    ]
    return content[:8] + b"".join(parts)


FORMS = {
    "bytes": change_bytes,
    "lines": change_lines,
    "json": change_json,
    "archive": change_entry,
    "header": change_header,
    "chunks": change_chunk,
}


def mutated(seeds, form, chance):
    """One of the seeds, changed a few times."""
    content = chance.choice(seeds)
    for _ in range(min(int(chance.expovariate(0.5)) + 1, 8)):
        content = FORMS[form](content, chance, seeds)[:LONGEST]
    return content


# ---------------------------------------------------------------- one reader


def watch(folder):
    """Let nothing that this process does from now on pass that no reader may do."""
    inside = os.path.realpath(folder)

    def hook(event, arguments):
        if event in FORBIDDEN:
            raise Trespass(f"{event} {arguments!r:.100}")
        if event == "open" and isinstance(arguments[0], str | bytes):
            path, _, flags = arguments
            writes = (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            path = os.path.realpath(os.fsdecode(path))
            if writes and not path.startswith((inside, "/dev/null")):
                raise Trespass(f"{path} is written to")

    sys.addaudithook(hook)


def outcome(reader, folder):
    """The outcome of a file: ("read" or "refused" or "failed", what was said)."""
    try:
        found = reader.read(folder)
        return ("refused", "") if found is None else ("read", "")
    except UserError as error:
        said, cause = str(error), error
        while cause is not None:
            if isinstance(cause, MemoryError) and places_of(cause)[-1].name != "parse":
                return "failed", f"took over 4 GiB: {said}"
            cause = cause.__cause__ or cause.__context__
        return ("refused" if said and len(said.splitlines()) == 1 else "failed"), said
    except OSError as error:
        if error.filename is not None:  # which scripts say in one line
            return "refused", str(error.strerror)
        return "failed", repr(error)
    except (Exception, Trespass) as error:
        found = places_of(error)
        own = [p for p in found if "/pipeline/" in p.filename or "/utils/" in p.filename]
        at = (own or found)[-1]
        return "failed", f"{type(error).__name__}: {error!s:.150} at {at.filename}:{at.lineno}"


def places_of(error):
    """Places where an error was raised, the innermost last; Python's own parser raises MemoryError
    of brackets that are too deep, and is called by ast.parse."""
    return traceback.extract_tb(error.__traceback__)


def peak():
    """The most bytes that this process has had."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def work(reader, folder, first, last, seed, results):
    """Give a reader the inputs first to last, writing each outcome to a pipe; then end."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    os.chdir(folder)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    sys.stdout = sys.stderr = io.StringIO()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 4 * BYTES, resource.RLIM_INFINITY))
    seeds, known, start = list(reader.seeds), set(), peak()
    watch(folder)
    for number in range(first, last):
        chance = random.Random(f"{seed} {reader.file} {number}")
        whole = number < len(reader.seeds)  # which must be read as they are
        content = seeds[number] if whole else mutated(seeds, reader.form, chance)
        (folder / reader.file).write_bytes(content)
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(60)
        kind, said = outcome(reader, folder)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        seconds, memory = time.process_time() - began, peak() - start
        if memory > BYTES:
            kind, said = "failed", f"took {memory / 2**30:.1f} GiB"
        elif whole and kind != "read":
            kind, said = "failed", f"a valid file is refused: {said}"
        shape = re.sub(r"\d+|'[^']*'|\"[^\"]*\"", "", said)[-100:]
        if kind != "failed" and shape not in known and len(seeds) < KEPT:
            known.add(shape)
            seeds.append(content)
        os.write(results, pickle.dumps((number, kind, said[:300], seconds, memory)))
        if kind == "failed":
            break
    os._exit(0)


class Tally:
    """The outcomes of a reader's inputs."""

    def __init__(self):
        self.kinds, self.slowest, self.memory, self.failures = Counter(), 0.0, 0, []

    def line(self, name):
        slowest, memory = f"{1000 * self.slowest:.0f} ms", f"{self.memory / 2**20:.0f} MiB"
        counts = [self.kinds.total(), *map(self.kinds.get, ("read", "refused", "failed"), [0] * 3)]
        return (
            f"{name:<22}"
            + "".join(f"{count:>9}" for count in counts)
            + f"{slowest:>10}{memory:>10}"
        )


def fuzz(name, prepare, inputs, seed, keep, bar):
    """Give a reader so many inputs, each process of it up to its first failure.

    Args:
        name: of the reader.
        prepare: makes the Reader in a folder.
        inputs: how many.
        seed: of the changes.
        keep: folder for inputs that fail.
        bar: of progress.

    Returns:
        a Tally.
    """
    tally, number = Tally(), 0
    while number < inputs:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            reader = prepare(folder)
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                try:
                    os.close(reading)
                    work(reader, folder, number, inputs, seed, writing)
                finally:
                    os._exit(1)
            os.close(writing)
            with os.fdopen(reading, "rb") as results, contextlib.suppress(EOFError):
                while True:
                    number, kind, said, seconds, memory = pickle.load(results)
                    tally.kinds[kind] += 1
                    tally.slowest = max(tally.slowest, seconds)
                    tally.memory = max(tally.memory, memory)
                    if kind == "failed":
                        tally.failures.append((number, said))
                    number += 1
                    bar.update()
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if status:
                ways = {-signal.SIGPROF: f"over {SECONDS} s of CPU", -signal.SIGALRM: "it hangs"}
                tally.failures.append((number, ways.get(status, f"died with status {status}")))
                tally.kinds["failed"] += 1
                number += 1
                bar.update()
            if tally.failures and number == tally.failures[-1][0] + 1:
                kept = keep / f"{name.replace(' ', '-')}-{number - 1}{Path(reader.file).suffix}"
                keep.mkdir(parents=True, exist_ok=True)
                shutil.copy(folder / reader.file, kept)
                kept.with_name(f"{kept.name}.txt").write_text(tally.failures[-1][1])
    return tally


def fuzz_all(readers, inputs, seed, keep):
    """Share inputs among readers; {name: Tally}."""
    share = {
        name: inputs // len(readers) + (k < inputs % len(readers)) for k, name in enumerate(readers)
    }
    tallies = {}
    with tqdm(total=inputs, unit=" inputs", disable=None) as bar:
        for name, prepare in readers.items():
            bar.set_description(name)
            tallies[name] = fuzz(name, prepare, share[name], seed, keep, bar)
    return tallies


def main():
    import torch

    from tests.fuzz_readers import READERS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="of all readers together")
    parser.add_argument("--seed", type=int, default=0, help="of the changes")
    parser.add_argument(
        "--readers", nargs="+", choices=READERS, default=list(READERS), metavar="NAME"
    )
    parser.add_argument("--keep", type=Path, default=Path("runs/fuzz"), help="of inputs that fail")
    options = parser.parse_args()
    torch.set_num_threads(1)
    readers = {name: READERS[name] for name in options.readers}
    tallies = fuzz_all(readers, options.inputs, options.seed, options.keep)
    heads = ("inputs", "read", "refused", "failed")
    print(
        f"{'reader':<22}"
        + "".join(f"{head:>9}" for head in heads)
        + f"{'slowest':>10}{'memory':>10}"
    )
    for name, tally in tallies.items():
        print(tally.line(name))
    whole = Tally()
    for tally in tallies.values():
        whole.kinds += tally.kinds
        whole.slowest, whole.memory = (
            max(whole.slowest, tally.slowest),
            max(whole.memory, tally.memory),
        )
    print(whole.line("all"))
    failures = [(name, *failure) for name, tally in tallies.items() for failure in tally.failures]
    for name, number, said in failures:
        print(f"{name}, input {number}: {said}")
    if failures:
        print(f"{len(failures)} inputs failed; they are in {options.keep}")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
