"""The public face: its names, their docstrings, and that the sync pool is the async one without await."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import httpcore

SOURCE = Path(httpcore.__file__ or "")
CLASSES = [getattr(httpcore, name) for name in httpcore.__all__ if inspect.isclass(getattr(httpcore, name))]
# Those whose arguments are described where they are taken, or that are exceptions, which take a message.
METHODS = [
    (cls, name, member)
    for cls in CLASSES
    for name, member in vars(cls).items()
    if inspect.isfunction(member) and not name.startswith("_")
]


def test_every_public_name_can_be_had_and_is_listed() -> None:
    for name in httpcore.__all__:
        assert getattr(httpcore, name) is not None
        assert name in dir(httpcore)


def test_type_checkers_see_the_names_that_load_lazily() -> None:
    tree = ast.parse(SOURCE.read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(httpcore.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'AsyncClient'"):
        _ = httpcore.AsyncClient  # type: ignore[attr-defined]  # that it is not there is what is tested


def test_star_import_brings_exactly_the_public_names() -> None:
    code = "from httpcore import *; print(*sorted(name for name in dir() if not name.startswith('__')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50)
    assert done.stdout.split() == sorted(httpcore.__all__)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_public_class_has_a_docstring_of_its_own(cls: type) -> None:
    assert vars(cls).get("__doc__")


@pytest.mark.parametrize(("cls", "name", "method"), METHODS, ids=lambda value: getattr(value, "__name__", value))
def test_every_public_method_has_a_docstring(cls: type, name: str, method: Callable[..., object]) -> None:
    assert inspect.getdoc(method), f"{cls.__name__}.{name}"


@pytest.mark.parametrize(
    ("cls", "name", "method"),
    [row for row in METHODS if inspect.iscoroutinefunction(row[2])],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_what_can_be_awaited_says_what_cancelling_it_does(cls: type, name: str, method: Callable[..., object]) -> None:
    doc = inspect.getdoc(method) or ""
    assert "Cancellation" in doc or "at once" in doc.lower(), f"{cls.__name__}.{name}"


@pytest.mark.parametrize("method", ["__init__", "request", "drain"])
def test_the_sync_pool_takes_the_same_arguments(method: str) -> None:
    asynchronous = inspect.signature(getattr(httpcore.ConnectionPool, method)).parameters
    blocking = inspect.signature(getattr(httpcore.SyncConnectionPool, method)).parameters
    expected = {name: parameter.replace(annotation=None) for name, parameter in asynchronous.items()}
    assert {name: parameter.replace(annotation=None) for name, parameter in blocking.items()} == expected


@pytest.mark.parametrize(
    ("asynchronous", "blocking"),
    [
        (httpcore.ConnectionPool, httpcore.SyncConnectionPool),
        (httpcore.Response, httpcore.SyncResponse),
        (httpcore.NetworkStream, httpcore.SyncNetworkStream),
    ],
)
def test_the_sync_twin_has_the_same_methods_without_await(asynchronous: type, blocking: type) -> None:
    def public(cls: type) -> set[str]:
        return {name for name in dir(cls) if not name.startswith("_")} - {"release", "forget"}

    assert public(blocking) == {"close" if name == "aclose" else name for name in public(asynchronous)}


def test_no_public_signature_has_any() -> None:
    for cls, name, method in METHODS:
        annotations = inspect.get_annotations(method)
        assert "Any" not in " ".join(map(str, annotations.values())), f"{cls.__name__}.{name}"


@pytest.mark.parametrize(
    "cls",
    [cls for cls in CLASSES if "Args:\n" in (cls.__doc__ or "") and "__init__" in vars(cls)],
    ids=lambda c: c.__name__,
)
def test_every_argument_of_a_class_is_described_where_it_is_taken(cls: type) -> None:
    doc = inspect.getdoc(cls) or ""
    undescribed = [name for name in inspect.signature(cls).parameters if not re.search(rf"\b{name}\b[:,]", doc)]
    assert not undescribed


def test_every_public_property_has_a_docstring() -> None:
    undescribed = [
        f"{cls.__name__}.{name}"
        for cls in CLASSES
        for name, member in vars(cls).items()
        if isinstance(member, property) and not name.startswith("_") and not member.__doc__
        if not (cls.__doc__ or "").startswith("See `")  # then the twin has one
    ]
    assert not undescribed
