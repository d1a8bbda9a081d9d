"""The checks of tests/test_structure.py, as functions of a file's text, so that each can be fed a bad example.

They read syntax trees and never import what they judge: a late or conditional import counts like any other.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

# Which of our packages may import which. Nothing imports upward; the judged never judges.
PACKAGES = {
    "attacks": set[str](),
    "defenses": set[str](),
    "audit": set[str](),
    "secure_fl": {"attacks", "defenses", "audit"},
    "webui": {"secure_fl", "audit"},
    "tools": {"secure_fl", "webui"},
    "benchmarks": {"secure_fl", "attacks", "defenses", "audit", "webui", "tools"},
}

# The storeys inside secure_fl: each part may import those named, and what stands under every part.
# "" is the package itself, which holds the version.
_GROUND = {"", "errors", "settings", "compositions", "adversity", "protection", "config"}
_RUNS = _GROUND | {"config_sources"}
_LEARNING = _GROUND | {"data", "models", "privacy", "training"}
_APP = _LEARNING | _RUNS | {"runs", "secagg"}
PARTS = {
    "": set[str](),
    "errors": set[str](),
    "compositions": {"errors"},
    "settings": {"errors"},
    "adversity": {"errors", "compositions"},
    "protection": {"errors", "compositions"},
    "config": {"errors", "settings", "compositions", "adversity", "protection"},
    "config_sources": _GROUND,
    "data": _GROUND,
    "models": _GROUND,
    "secagg": {"", "errors"},  # a protocol: it knows nothing of models, settings or Flower
    "privacy": _GROUND | {"runs"},
    "training": _GROUND | {"data", "models", "privacy"},
    "runs": _RUNS,
    "app": _APP,
    "audited": _APP | {"app"},
    "federation": _APP | {"app", "audited"},
    "lab": _APP | {"app", "federation"},
    "cli": _APP | {"app", "audited", "federation", "lab"},
    "__main__": {"cli"},
}

# Libraries that have a room of their own: module prefixes that may import them.
ROOMS = {
    "flwr": ("secure_fl.app", "secure_fl.federation", "audit.decode", "benchmarks"),
    "flask": ("webui",),
    "gunicorn": ("webui",),
    "ray": ("secure_fl.federation", "benchmarks"),
}

_PICKLES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
_UNSAFE_CALLS = {"torch.load", "torch.jit.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
_MACHINE = re.compile(r"""(?:^|[\s"'`(=])(?:/work/|/root/|/tmp/|/home/\w|/Users/\w)""")
_REGISTRY = re.compile(r"""https?://\S*/simple(?:/|["'\s]|$)|--(?:extra-)?index-url|\bpypi\.org|files\.pythonhosted""")


def imports(module: str, text: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that `module` imports, relative imports and `import_module("…")` resolved."""
    package = module.split(".")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, each.name) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: -node.level]) if node.level else ""
            name = ".".join(filter(None, (base, node.module)))
            # `from secure_fl import cli` names a part only in its list.
            yield from ((node.lineno, f"{name}.{each.name}") for each in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from ((node.lineno, name) for name in _constants(node.args[:1]))


def _constants(nodes: list[ast.expr]) -> list[str]:
    """The texts among `nodes`; a name that is computed at run time cannot be judged here."""
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def import_faults(module: str, text: str) -> list[str]:
    """Imports that point up, or that bring a library into the wrong room."""
    faults = []
    own, part = module.split(".")[0], _part(module)
    for line, name in imports(module, text):
        top = name.split(".")[0]
        if top in PACKAGES and top != own and top not in PACKAGES[own]:
            faults.append(f"{module}:{line} imports {top}, which {own} may not")
        if own == top == "secure_fl" and _part(name) not in PARTS[part] | {part}:
            faults.append(f"{module}:{line} imports {name}, which stands above {part or 'the package itself'}")
        rooms = ROOMS.get(top)
        if rooms and not any(module == room or module.startswith(room + ".") for room in rooms):
            faults.append(f"{module}:{line} imports {top}, which belongs in {' and '.join(rooms)}")
    return faults


def _part(module: str) -> str:
    """The part of secure_fl that a dotted name lies in; names of the package itself count as ""."""
    names = module.split(".")
    if names[0] != "secure_fl" or len(names) == 1:
        return ""
    return names[1] if names[1] in PARTS or len(names) > 2 else ""


def export_faults(module: str, text: str) -> list[str]:
    """What is wrong with `__all__`: missing, unsorted, or naming what the module does not define."""
    tree = ast.parse(text)
    if module.split(".")[-1] in ("__init__", "__main__") and not _defined(tree):
        return []
    lists = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
    ]
    if len(lists) != 1:
        return [f"{module}: no single `__all__`"]
    names = list(ast.literal_eval(lists[0]))
    faults = [f"{module}: `__all__` names {each}, which is not defined" for each in names if each not in _defined(tree)]
    if names != sorted(set(names), key=_export_order):
        faults.append(f"{module}: `__all__` is not sorted")
    return faults


def _export_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest: the order that ruff's RUF022 keeps."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2), name


def _defined(tree: ast.Module) -> set[str]:
    """Names bound at top level, also under `if` and `try`."""
    names: set[str] = set()
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        match waiting.pop():
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names.update((each.asname or each.name).split(".")[0] for each in aliases)
            case ast.Assign(targets=targets):
                names.update(n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.If(body=body, orelse=other) | ast.Try(body=body, orelse=other):
                waiting += [*body, *other]
    return names - {"__all__", "annotations"}


def unsafe_faults(module: str, text: str) -> list[str]:
    """Readers that can run code out of a file: pickle in any dress, and YAML's unsafe loaders."""
    faults = [
        f"{module}:{line} imports {name}"
        for line, name in imports(module, text)
        if name.split(".")[0] in _PICKLES or name in _UNSAFE_CALLS
    ]
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        if ast.unparse(node.func) in _UNSAFE_CALLS:
            faults.append(f"{module}:{node.lineno} calls {ast.unparse(node.func)}")
        for keyword in node.keywords:
            refused = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg == "allow_pickle" and not refused:
                faults.append(f"{module}:{node.lineno} allows pickle")
    return faults


def length_faults(name: str, text: str, limit: int = 500) -> list[str]:
    """A file so long that it is probably two rooms."""
    lines = text.count("\n") + 1
    return [f"{name} has {lines} lines, over {limit}"] if lines > limit else []


def place_faults(name: str, text: str) -> list[str]:
    """Paths of somebody's machine, and addresses of package registries."""
    return [
        f"{name}:{number} names {what}: {line.strip()[:100]}"
        for number, line in enumerate(text.splitlines(), 1)
        for what, pattern in (("a machine's path", _MACHINE), ("a package registry", _REGISTRY))
        if pattern.search(line)
    ]


def module_name(root: Path, path: Path) -> str:
    """`secure_fl/data/tree.py` as `secure_fl.data.tree`; a package keeps its `.__init__`."""
    return ".".join(path.relative_to(root).with_suffix("").parts)
