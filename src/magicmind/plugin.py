"""Operators that users bring: a type rule with a numpy function, or with a kernel in the vocabulary of `codegen`.

    from magicmind import plugin

    def types(input, *, FuncType: int = 0):                  # plugin.TensorSpec in, plugin.TensorSpec out
        return input

    def compute(input, *, FuncType: int = 0):                # numpy arrays in, numpy arrays out
        return np.maximum(input, 0)

    plugin.register("PluginReLU", types=types, compute=compute)

The parameters of `types` are the operator: those that may be given by position are its inputs (a default of None makes
one optional), those by keyword alone its attributes. docs/guide/plugins.md shows how models name such an operator.

This module needs numpy alone, so that models whose plugins run as numpy functions run where nothing else is installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from magicmind.errors import Error, ModelFormatError
from magicmind.runtime.host import PLUGIN, HostCall, host, withdraw

T = TypeVar("T")

DOMAIN = "plugin"
"""The domain of operators that are registered without one."""

GROUPS = "input_sizes"
"""Attribute of nodes whose operator takes lists of tensors: how many tensors each input has."""

_OURS = ("", "ai.onnx", "ai.onnx.ml", "magicmind", "com.microsoft")
_NAME = re.compile(r"[A-Za-z_]\w*")


class PluginError(Error):
    """A plugin that cannot be registered, or that is not what a model asks for."""


@dataclass(frozen=True)
class TensorSpec:
    """What a type rule sees of a tensor, and says of one.

    A dim is a number, a symbolic size (it takes part in `+ - * // %` with numbers and others), or in a result None: a
    size that only the data tells.
    """

    dtype: np.dtype[Any]
    shape: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Plugin:
    """A registered operator. `attributes`: their defaults, `REQUIRED` where there are none."""

    name: str
    domain: str
    inputs: tuple[str, ...]
    optional: frozenset[str]
    variadic: frozenset[str]
    attributes: Mapping[str, Any]
    outputs: tuple[str, ...]
    types: Callable[..., Any]
    compute: Callable[..., Any] | None
    kernel: Callable[..., None] | None
    schema: str | None
    source: str
    """Hash of the code it was registered from."""

    @property
    def full_name(self) -> str:
        """`domain.name`."""
        return f"{self.domain}.{self.name}"

    @property
    def function(self) -> str:
        """What plans call its numpy function."""
        return PLUGIN + self.full_name

    def arguments(self, values: Sequence[T | None], sizes: Sequence[int] | None) -> list[T | list[T | None] | None]:
        """The inputs of a node by parameter: absent ones None, of variadic ones lists.

        sizes: of the node's attribute `input_sizes`. Raises ModelFormatError when they are too many or too few.
        """
        if sizes is None:
            if len(self.variadic) > 1:
                raise ModelFormatError(f"attribute {GROUPS!r} is missing: {self.full_name} takes several lists")
            rest = len(values) - len(self.inputs) + 1
            sizes = [rest if name in self.variadic else 1 for name in self.inputs]
        if len(sizes) != len(self.inputs) or sum(sizes) < len(values) or min(sizes, default=0) < 0:
            raise ModelFormatError(f"{len(values)} inputs do not fit {self.full_name}({', '.join(self.inputs)})")
        padded = [*values, *[None] * (sum(sizes) - len(values))]
        found: list[T | list[T | None] | None] = []
        for name, size in zip(self.inputs, sizes, strict=True):
            part, padded = padded[:size], padded[size:]
            found.append(part if name in self.variadic else part[0] if part else None)
            if found[-1] is None and name not in self.optional:
                raise ModelFormatError(f"input {name!r} of {self.full_name} is missing")
        return found

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All attributes, defaults filled in. Raises ModelFormatError for unknown and missing ones."""
        unknown = sorted(set(given) - set(self.attributes) - {GROUPS})
        if unknown:
            known = ", ".join(self.attributes) or "none"
            raise ModelFormatError(f"{self.full_name} has no attribute {unknown[0]!r}; it has {known}")
        found = {
            name: _like(given[name], default) if name in given else default for name, default in self.attributes.items()
        }
        missing = [name for name, value in found.items() if value is REQUIRED]
        if missing:
            raise ModelFormatError(f"attribute {missing[0]!r} of {self.full_name} is missing")
        return found

    def operands(self, given: Mapping[str, T | Sequence[T | None]]) -> tuple[list[T | None], dict[str, list[int]]]:
        """Inputs by name as a node has them: in order, and the attribute that tells lists apart.

        Raises ModelFormatError for unknown and missing names.
        """
        unknown = sorted(set(given) - set(self.inputs))
        missing = [name for name in self.inputs if name not in given and name not in self.optional | self.variadic]
        if unknown or missing:
            what = f"no input {unknown[0]!r}" if unknown else f"an input {missing[0]!r} that is not given"
            raise ModelFormatError(f"{self.full_name} has {what}; its inputs are {', '.join(self.inputs)}")
        values: list[T | None] = []
        sizes = []
        for name in self.inputs:
            value: Any = given.get(name)
            part: list[T | None] = list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]
            if name not in self.variadic:
                part = part or [None]
                if len(part) > 1:
                    raise ModelFormatError(f"input {name!r} of {self.full_name} is one tensor; {len(part)} are given")
            values += part
            sizes.append(len(part))
        return values, {GROUPS: sizes} if self.variadic else {}


REQUIRED: Any = inspect.Parameter.empty
"""Stands for the default of an attribute that has none."""

PLUGINS: dict[tuple[str, str], Plugin] = {}
"""By domain and name."""


def register(
    name: str,
    *,
    types: Callable[..., Any],
    compute: Callable[..., Any] | None = None,
    kernel: Callable[..., None] | None = None,
    domain: str = DOMAIN,
    outputs: Sequence[str] = ("output",),
    variadic: Sequence[str] = (),
    schema: str | None = None,
) -> Plugin:
    """Makes an operator known to the front-ends, the compiler and the run time of this process.

    types: `(inputs, *, attributes) -> TensorSpec`, or one for each output.
    compute: likewise on arrays; it runs as a step of its own between native code. It must not write to its inputs.
    kernel: `(low, node)`, adds kernel calls as the operators in `magicmind.ops` do; the models need no plugin then.
        With both, `compute` takes what `kernel` declines by raising UnsupportedOperatorError.
    domain: of the operator in ONNX files, and the namespace of a TorchScript operator.
    variadic: the inputs that are lists of tensors.
    schema: the TorchScript operator's, as in "PluginReLU(Tensor input, *, int FuncType=0) -> Tensor"; it lets files
        be read where the library that implements the operator is not loaded.
    Registering the same operator from the same source again changes nothing. Raises PluginError for another operator
    of the name, for names of our own, and for functions whose parameters differ.
    """
    if not _NAME.fullmatch(name) or domain in _OURS or not domain:
        raise PluginError(
            f"{domain or '(no domain)'}.{name} is no name for a plugin: the domain is taken or is no name"
        )
    if compute is None and kernel is None:
        raise PluginError(f"{domain}.{name} has neither compute nor kernel: nothing says what it does")
    inputs, optional, attributes = _parameters(types, f"{domain}.{name}", compute)
    if not set(variadic) <= set(inputs):
        raise PluginError(f"variadic names {sorted(set(variadic) - set(inputs))}; the inputs are {list(inputs)}")
    source = _source_of((name, domain, tuple(outputs), tuple(variadic), schema), types, compute, kernel)
    known = PLUGINS.get((domain, name))
    if known is not None:
        if known.source == source:
            return known
        raise PluginError(
            f"{known.full_name} is registered already, from other code ({_where(known.types)}, now {_where(types)})",
            hint="give it another name or domain, or call magicmind.plugin.unregister first",
        )
    plugin = Plugin(
        name, domain, inputs, optional, frozenset(variadic), attributes, tuple(outputs), types, compute, kernel, schema,
        source,
    )  # fmt: skip
    if compute is not None:
        host(plugin.function)(_host_function(plugin, compute))
    PLUGINS[domain, name] = plugin
    return plugin


def unregister(name: str, domain: str = DOMAIN) -> None:
    """Forgets an operator, so that other code may take its name. Models that were loaded keep what they have.

    Raises PluginError when there is none.
    """
    plugin = PLUGINS.pop((domain, name), None)
    if plugin is None:
        raise PluginError(f"no plugin {domain}.{name} is registered")
    withdraw(plugin.function)


def find(name: str) -> Plugin:
    """The plugin of that name, `Name` or `domain.Name`. Raises PluginError when there is none, or more than one."""
    found = [plugin for plugin in PLUGINS.values() if name in (plugin.name, plugin.full_name)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(sorted(plugin.full_name for plugin in PLUGINS.values())) or "none"
    if found:
        raise PluginError(f"several plugins are named {name!r}: {', '.join(sorted(p.full_name for p in found))}")
    raise PluginError(f"no plugin {name!r} is registered; known: {known}", hint="load its file: --plugin_path FILE.py")


def load_plugins(paths: Iterable[str | os.PathLike[str]]) -> list[Plugin]:
    """Runs Python files that register plugins; what they registered. A file that was run already is not run again.

    Raises PluginError for a file that cannot be read, that fails, or that registers nothing.
    """
    return [plugin for path in paths for plugin in _load(Path(path))]


_LOADED: dict[str, list[tuple[str, str]]] = {}
"""Files by the hash of their text, and what each registered."""


def _load(path: Path) -> list[Plugin]:
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise PluginError(f"the plugin {path} cannot be read: {error.strerror or error}") from error
    keys = _LOADED.get(digest)
    if keys is None or any(key not in PLUGINS for key in keys):
        keys = _run(path, f"magicmind_plugin_{digest[:16]}")
        _LOADED[digest] = keys
    return [PLUGINS[key] for key in keys]


def _run(path: Path, module_name: str) -> list[tuple[str, str]]:
    spec = importlib.util.spec_from_file_location(module_name, path.absolute()) if path.suffix == ".py" else None
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is no Python file", hint="plugins are Python: --plugin_path FILE.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # where dataclasses and pickles of the file look
    try:
        spec.loader.exec_module(module)
    except Error:
        raise
    except Exception as error:
        raise PluginError(f"the plugin {path} fails: {type(error).__name__}: {error}") from error
    made = [key for key, plugin in PLUGINS.items() if getattr(plugin.types, "__module__", None) == module_name]
    if not made:
        raise PluginError(f"{path} registers no plugin", hint="it should call magicmind.plugin.register")
    return made


# ------------------------------------------------------------------------------------------------------------- helpers


def _parameters(
    types: Callable[..., Any], name: str, compute: Callable[..., Any] | None
) -> tuple[tuple[str, ...], frozenset[str], dict[str, Any]]:
    """Inputs, which of them are optional, attributes with their defaults."""
    parameters = inspect.signature(types).parameters.values()
    kinds = inspect.Parameter
    if any(p.kind in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD) for p in parameters):
        raise PluginError(
            f"{name}: types takes * or **; its parameters must be named", hint="lists of tensors: variadic"
        )
    inputs = tuple(p.name for p in parameters if p.kind != kinds.KEYWORD_ONLY)
    optional = frozenset(p.name for p in parameters if p.kind != kinds.KEYWORD_ONLY and p.default is None)
    attributes = {p.name: p.default for p in parameters if p.kind == kinds.KEYWORD_ONLY}
    if compute is not None and set(inspect.signature(compute).parameters) != {*inputs, *attributes}:
        raise PluginError(
            f"{name}: types takes ({', '.join((*inputs, *attributes))}), "
            f"compute ({', '.join(inspect.signature(compute).parameters)}); they must agree"
        )
    return inputs, optional, attributes


def _like(value: Any, default: Any) -> Any:
    """An attribute in the kind of its default: whole numbers where floats are expected, one number for a list."""
    if isinstance(default, float) and isinstance(value, int):
        return float(value)
    if isinstance(default, (list, tuple)) and not isinstance(value, (list, tuple, np.ndarray)):
        return [value]
    return list(value) if isinstance(value, tuple) else value


def _host_function(plugin: Plugin, compute: Callable[..., Any]) -> Callable[[HostCall], Sequence[Any]]:
    def run(call: HostCall) -> Sequence[Any]:
        arguments = plugin.arguments(call.inputs, call.attr(GROUPS))
        try:
            found = compute(*arguments, **plugin.settings(call.attributes))
        except Error:
            raise
        except Exception as error:  # whatever the user's function raises
            raise PluginError(f"plugin {plugin.full_name}: {type(error).__name__}: {error}") from error
        results = list(found) if isinstance(found, (list, tuple)) else [found]
        if len(results) < call.outputs:
            raise PluginError(f"plugin {plugin.full_name} gave {len(results)} results; {call.outputs} are asked for")
        return results

    return run


def _source_of(facts: object, *functions: Callable[..., Any] | None) -> str:
    """Hash of what a plugin is made from: the whole file a function stands in, so that helpers count."""
    return hashlib.sha256(repr((facts, [_text_of(f) for f in functions])).encode()).hexdigest()


def _text_of(function: Callable[..., Any] | None) -> str:
    if function is None:
        return ""
    try:
        file = inspect.getsourcefile(function)
        return Path(file).read_text() if file and os.path.exists(file) else inspect.getsource(function)
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        return repr(function) if code is None else repr((code.co_code, code.co_consts, code.co_names))


def _where(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    return repr(function) if code is None else f"{code.co_filename}:{code.co_firstlineno}"
