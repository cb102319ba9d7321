"""What torch's exporter would make anew for every graph is made once."""

from contextlib import suppress
from copy import copy
from functools import cache
from importlib import import_module
from typing import Any


def keep_tables() -> None:
    """For every graph, torch's exporter parses the source of its 500 operators, infers their
    signatures, and asks thirty times for the operators made of others: more than half of the time
    that a small graph takes. From now on this process does so once (the last again where there are
    new). It also registers 6,000 implementations, and evaluates annotations for each: no more."""
    # torch's own affair: in other versions it may be elsewhere, and is then made for each graph.
    with suppress(ImportError, AttributeError):
        library: Any = import_module("torch.onnx._internal._lazy_import").onnxscript_apis
        load = library.__getattr__
        library.get_torchlib_ops = cache(lambda: load("get_torchlib_ops")())
    with suppress(ImportError, AttributeError):
        registry: Any = import_module("torch.onnx._internal.exporter._registration").ONNXRegistry
        made = cache(registry.from_torchlib)

        def copied(**opset: int) -> Any:  # a graph's own operators are added to it
            fresh = copy(made(**opset))
            fresh.functions = {name: [*each] for name, each in fresh.functions.items()}
            return fresh

        registry.from_torchlib = staticmethod(copied)
    with suppress(ImportError, AttributeError):
        utilities: Any = import_module("torch._export.utils")
        names: Any = import_module("torch")._C._dispatch_get_registrations_for_dispatch_key
        look_up = cache(lambda count: look_up_all())
        look_up_all = utilities._materialize_cpp_cia_ops
        utilities._materialize_cpp_cia_ops = lambda: look_up(
            len(names("CompositeImplicitAutograd"))
        )
    with suppress(ImportError, AttributeError):
        decompositions: Any = import_module("torch.onnx._internal.exporter._decomp")
        make = decompositions.create_onnx_friendly_decomposition_table
        table = cache(lambda operators: make(operators))
        decompositions.create_onnx_friendly_decomposition_table = lambda operators: dict(
            table(frozenset(operators))
        )
    with suppress(ImportError, AttributeError):
        operator: Any = import_module("torch._ops").OperatorBase
        key: Any = import_module("torch").DispatchKey
        register = operator.py_impl

        def py_impl(self: Any, k: Any) -> Any:
            if not isinstance(k, key) or k == key.Python or k in self.py_kernels:
                return register(self, k)  # pyright: ignore[reportUnknownVariableType]

            def registered(implementation: Any) -> Any:
                self.py_kernels[k] = implementation
                self._dispatch_cache.clear()
                return implementation

            return registered

        operator.py_impl = py_impl
