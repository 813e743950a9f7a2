"""Faults of inputs in a form: each at its control, and all of them in a list above the form.

A fault may be deep inside a value that has one control, e.g. one typed as JSON. It then belongs to the innermost
control around its place.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import attrs

from loopkit.errors import Fault
from loopkit_web.dashboard.forms.controls import Control

__all__ = ["ListedFault", "list_faults", "mark_faults"]


@attrs.frozen(kw_only=True)
class ListedFault:
    """One fault in the list above the form."""

    label: str
    """Label of its control; if the fault is inside the control's value, its pointer."""
    detail: str
    target: str | None
    """Id of the field that it links to; None if no field shows it."""


def mark_faults(controls: Sequence[Control], faults: Iterable[Fault]) -> list[Control]:
    """Return the controls with each fault added to its own.

    Args:
        faults: with pointers into the inputs.
    """
    pointers = {control.pointer for top in controls for control in top.walk()}
    details: defaultdict[str, list[str]] = defaultdict(list)
    for fault in faults:
        details[_nearest(fault.pointer, pointers)].append(fault.detail)
    return [_marked(control, details) for control in controls]


def list_faults(controls: Sequence[Control], faults: Iterable[Fault]) -> list[ListedFault]:
    """Return the faults with the labels of their controls, in the order of the controls.

    Args:
        faults: with pointers into the inputs.
    """
    by_pointer = {control.pointer: control for top in controls for control in top.walk()}
    position = {pointer: index for index, pointer in enumerate(by_pointer)}
    ordered = sorted(faults, key=lambda fault: position.get(fault.pointer, len(position)))
    return [_listed(fault, by_pointer) for fault in ordered]


def _listed(fault: Fault, by_pointer: Mapping[str, Control]) -> ListedFault:
    control = by_pointer.get(_nearest(fault.pointer, by_pointer))
    if control is None:
        return ListedFault(label=fault.pointer, detail=fault.detail, target=None)
    is_whole_value = fault.pointer in (control.pointer, "")
    label = control.label if is_whole_value else fault.pointer
    return ListedFault(label=label, detail=fault.detail, target=control.id)


def _nearest(pointer: str, pointers: Collection[str]) -> str:
    """Return the pointer of the control that a fault belongs to: its own, or that of the innermost one around it.

    A fault outside of all controls belongs to the field of further inputs, else to the first control.
    """
    while pointer and pointer not in pointers:
        pointer = pointer.rpartition("/")[0]
    if pointer or "" in pointers:
        return pointer
    return "/" if "/" in pointers else next(iter(sorted(pointers)), "")


def _marked(control: Control, details: Mapping[str, Sequence[str]]) -> Control:
    children = tuple(_marked(child, details) for child in control.children)
    return attrs.evolve(control, children=children, faults=tuple(details.get(control.pointer, ())))
