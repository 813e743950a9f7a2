"""``/agents/start``: pick an agent, fill the form that its schema makes, start a run."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from anyio import to_thread
from starlette.responses import Response

from loopkit.agents.agent import Agent
from loopkit.core import plain
from loopkit.errors import Fault, UnknownAgent
from loopkit_web import forms, reading, workflows
from loopkit_web.context import Call
from loopkit_web.forms.controls import Control
from loopkit_web.pages.layout import form_key, new_key, page, segment
from loopkit_web.rendering import words
from loopkit_web.routing import Form
from loopkit_web.views.fleet import FleetView, fleet_of

__all__ = ["Prefill", "show_form", "take_form"]

_SETTINGS = ("maxAttempts", "passThreshold", "cycleId")


@attrs.frozen(kw_only=True)
class Prefill:
    """What the form begins with."""

    agent: str | None = None
    from_: str | None = None


@attrs.frozen(kw_only=True)
class FormFault:
    """One fault in the summary above the form, and the control it leads to."""

    label: str
    detail: str
    target: str | None


@attrs.frozen(kw_only=True)
class StartForm:
    """The form with what stands in it."""

    agent: Agent
    key: str
    controls: Sequence[Control]
    faults: Sequence[FormFault] = ()
    max_attempts: str = ""
    pass_threshold: str = ""
    cycle_id: str = ""
    setting_faults: Mapping[str, str] = attrs.field(factory=lambda: dict.fromkeys(_SETTINGS, ""))

    @property
    def settings_open(self) -> bool:
        return any(self.setting_faults.values()) or bool(self.max_attempts or self.pass_threshold or self.cycle_id)


async def show_form(call: Call) -> Response:
    """``GET /agents/start``: the form of an agent, empty or with the inputs of another run."""
    query: Prefill = call.query
    source = query.from_
    if source:
        run = await call.store.get_run(source)
        agent = _agent(call, run.agent_name)
        raw = forms.raw_of(agent.inputs, run.inputs)
        form = StartForm(
            agent=agent,
            key=new_key(),
            controls=forms.controls_of(agent.inputs, raw),
            max_attempts=str(run.max_attempts) if run.max_attempts != agent.max_attempts else "",
            pass_threshold=words.number(run.pass_threshold) if run.pass_threshold != agent.pass_threshold else "",
        )
        return await _page(call, form, chosen=True, source=source)
    if not call.agents:
        return await _page(call, None, chosen=False)
    agent = _agent(call, query.agent) if query.agent else next(iter(call.agents.values()))
    return await _page(call, _empty(agent), chosen=bool(query.agent))


def _agent(call: Call, name: str) -> Agent:
    agent = call.agents.get(name)
    if agent is None:
        raise UnknownAgent(name, call.agents)
    return agent


def _empty(agent: Agent) -> StartForm:
    defaults = {
        name: schema["default"]
        for name, schema in agent.inputs.get("properties", {}).items()
        if isinstance(schema, dict) and "default" in schema
    }
    raw = forms.raw_of(agent.inputs, defaults)
    return StartForm(agent=agent, key=new_key(), controls=forms.controls_of(agent.inputs, raw))


async def take_form(call: Call) -> Response:
    """``POST /agents/start``: start the run and go on to it; or show the form again with what is to be changed."""
    form: Form = call.body
    agent = _agent(call, form.get("agent"))
    raw: forms.Raw = forms.given(form.fields)
    if place := form.get("add"):
        return await _again(call, agent, form, forms.with_row(raw, place.removeprefix("inputs")))
    if place := form.get("remove"):
        return await _again(call, agent, form, forms.without_row(raw, place.removeprefix("inputs")))
    document, raw, faults = await to_thread.run_sync(_read, call, agent, form, raw)
    if faults:
        return await _again(call, agent, form, raw, faults)
    body: workflows.Start = reading.structured(workflows.Start, document)
    # Sent again as it is, a form gives the same run; sent again with other inputs, it means another one.
    run = await workflows.start(call, body, key=form_key(form, plain.dumps(document)))
    return call.see_other(f"/agents/{segment(run.id)}")


def _read(call: Call, agent: Agent, form: Form, raw: forms.Raw) -> tuple[dict[str, Any], forms.Raw, list[Fault]]:
    """Give the form as the API's body, its fields tidied up, and all that is wrong, as the API finds it."""
    inputs, raw, unread = forms.read(agent.inputs, raw)
    document: dict[str, Any] = {"agentName": agent.name, "inputs": inputs}
    for name in _SETTINGS:
        if text := form.get(name).strip():
            document[name] = text if name == "cycleId" else _number(text)
    unread_places = {fault.pointer for fault in unread}
    found = [*reading.faults(workflows.Start, document), *workflows.check_start(call, document)]
    faults = [Fault(f"/inputs{fault.pointer}", fault.detail) for fault in unread]
    # A field that could not be read is missing from the inputs; that is not a second fault.
    faults += [fault for fault in found if fault.pointer.removeprefix("/inputs") not in unread_places]
    return document, raw, faults


def _number(text: str) -> Any:
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text


async def _again(call: Call, agent: Agent, form: Form, raw: forms.Raw, faults: Sequence[Fault] = ()) -> Response:
    """Show the form again, with all that was typed."""
    inside = [Fault(one.pointer.removeprefix("/inputs"), one.detail) for one in faults if _is_input(one)]
    settings = {one.pointer[1:]: one.detail for one in faults if not _is_input(one)}
    controls = forms.controls_of(agent.inputs, raw, inside)
    start = StartForm(
        agent=agent,
        key=form.get("key") or new_key(),
        controls=controls,
        faults=[_form_fault(one, controls) for one in _in_order(faults, controls)],
        max_attempts=form.get("maxAttempts"),
        pass_threshold=form.get("passThreshold"),
        cycle_id=form.get("cycleId"),
        setting_faults={name: settings.get(name, "") for name in _SETTINGS},
    )
    return await _page(call, start, chosen=True, status=422 if faults else 200)


def _is_input(fault: Fault) -> bool:
    return fault.pointer == "/inputs" or fault.pointer.startswith("/inputs/")


def _in_order(faults: Sequence[Fault], controls: Sequence[Control]) -> list[Fault]:
    """Give faults in the order of their controls, those without one last."""
    places = {f"/inputs{one.pointer}": at for at, one in enumerate(one for top in controls for one in top.walk())}
    return sorted(faults, key=lambda fault: places.get(fault.pointer, len(places)))


def _form_fault(fault: Fault, controls: Sequence[Control]) -> FormFault:
    """Give a fault with the label of the control that it is about, or of the one around it."""
    if not _is_input(fault):
        name = fault.pointer[1:]
        return FormFault(label=words.label(name), detail=fault.detail, target=f"s-{name}")
    by_pointer = {control.pointer: control for top in controls for control in top.walk()}
    place = fault.pointer.removeprefix("/inputs")
    while place and place not in by_pointer:
        place = place.rpartition("/")[0]
    control = by_pointer.get(place) or by_pointer.get("/")
    if control is None:
        return FormFault(label=fault.pointer, detail=fault.detail, target=None)
    exact = control.pointer == fault.pointer.removeprefix("/inputs")
    return FormFault(label=control.label if exact else fault.pointer, detail=fault.detail, target=control.id)


# --- The page --------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Choice:
    """One agent to pick."""

    name: str
    description: str
    last: float | None
    is_served: bool


async def _page(
    call: Call, form: StartForm | None, *, chosen: bool, source: str | None = None, status: int = 200
) -> Response:
    fleet = await fleet_of(call)
    last = {one.agent: one.last_score for one in fleet.overview.agents} if fleet is not None else {}
    choices = [
        Choice(
            name=agent.name,
            description=agent.description,
            last=last.get(agent.name),
            is_served=fleet is None or bool(fleet.serving(agent.name)),
        )
        for agent in call.agents.values()
    ]
    return page(
        call,
        "start.html",
        title="Start a workflow",
        status=status,
        nav="/agents",
        form=form,
        agents=choices,
        chosen=chosen,
        source=source,
        when_words=_when(fleet, form.agent.name) if form is not None else "",
    )


def _when(fleet: FleetView | None, agent: str) -> str:
    """Say when the run would begin."""
    if fleet is None:
        return "It is queued until a runner takes it."
    serving = fleet.serving(agent)
    if not serving:
        return "No live runner serves this agent: the run waits until one does."
    free = sum(max(one.slots - one.busy, 0) for one in serving)
    names = words.joined(dict.fromkeys(one.name.split(":")[0] for one in serving[:3]), "or")
    if not free:
        return f"All slots of {names} are busy; it starts when one is free."
    return f"Runs at once on {names}; {free} {'slot is' if free == 1 else 'slots are'} free."
