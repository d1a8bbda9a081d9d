"""From LLVM's language to the address of a function, by llvmlite (extra `fast`): the one place that imports it."""

from __future__ import annotations

import llvmlite.binding as llvm

__all__ = ["address_of", "has_instructions"]

_ENGINES: list[llvm.ExecutionEngine] = []  # an engine owns the code that it made


def address_of(function: str, text: str) -> int:
    """The address of `function` of the module `text`, compiled for this machine; kept until the process ends."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(text), target)
    engine.finalize_object()
    _ENGINES.append(engine)
    return int(engine.get_function_address(function))


def has_instructions(*features: str) -> bool:
    """Whether this processor has all of `features`, in LLVM's names ("avx2")."""
    found = llvm.get_host_cpu_features()
    return all(found.get(each, False) for each in features)
