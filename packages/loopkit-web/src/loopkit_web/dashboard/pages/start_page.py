"""``/agents/start``: choose an agent, fill in the form of its inputs, start a run."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
from anyio import to_thread
from starlette.responses import Response

from loopkit import Agent
from loopkit.agents import find_agent
from loopkit.core import strict_json
from loopkit.core.run import Run
from loopkit.errors import Fault
from loopkit_web import actions
from loopkit_web.dashboard import forms
from loopkit_web.dashboard.markup import display_text
from loopkit_web.dashboard.markup.bidi_text import isolated
from loopkit_web.dashboard.markup.text_allowance import html_bytes
from loopkit_web.dashboard.pages.layout import form_key, new_key, page, segment
from loopkit_web.dashboard.pages.page_worker import in_worker
from loopkit_web.dashboard.views.runners_view import FleetView, fleet_view, host_names
from loopkit_web.fleet import read_fleet
from loopkit_web.http import request_values
from loopkit_web.http.access import Permission
from loopkit_web.http.call import Call
from loopkit_web.http.endpoint import Form

__all__ = ["StartPageQuery", "show_form", "submit_form"]

_SETTINGS: Final[Mapping[str, str]] = {
    "maxAttempts": "Maximum attempts",
    "passThreshold": "Pass mark",
    "cycleId": "Cycle id",
}
"""Labels of the settings, by their keys in the API's body."""
_MAX_INPUTS_CHARS: Final = 200_000
"""Characters of a run's inputs that are read to fill the form; longer ones do not fit into it."""
_MAX_INPUTS_BYTES: Final = 400_000
"""Bytes of HTML that the values of a form may take."""
_INPUTS: Final = "/inputs"
"""Pointer of the inputs in the API's body, and in faults of it."""


@attrs.frozen(kw_only=True)
class StartPageQuery:
    """Query of the start page."""

    agent: str | None = None
    from_: str | None = None
    """Id of the run whose inputs the form is filled with."""


@attrs.frozen(kw_only=True)
class StartForm:
    """Form of one agent, with what is filled in."""

    agent: Agent
    key: str
    controls: Sequence[forms.Control]
    depth: int
    """Depth that the inputs begin with; sent with the form, since it depends on what the form was filled with."""
    cannot_hold_inputs: bool = False
    """True if the inputs of the other run are too large for a form, which therefore has the defaults."""
    faults: Sequence[forms.ListedFault] = ()
    lost: Sequence[str] = ()
    """Names of the copied run's inputs that the form does not return as they are."""
    max_attempts: str = ""
    pass_threshold: str = ""
    cycle_id: str = ""
    setting_faults: Mapping[str, str] = attrs.field(factory=lambda: dict.fromkeys(_SETTINGS, ""))

    @property
    def settings_open(self) -> bool:
        """True if the settings are shown unfolded: one has a value or a fault."""
        return any(self.setting_faults.values()) or bool(self.max_attempts or self.pass_threshold or self.cycle_id)


async def show_form(call: Call) -> Response:
    """``GET /agents/start``: the form of an agent, with defaults or with the inputs of another run."""
    query: StartPageQuery = call.query
    if query.from_:
        call.require(Permission.VIEW)  # the form shows the inputs of the run
        return await _page(call, await _copied_form(call, query.from_), chosen=True, source=query.from_)
    if not call.agents:
        return await _page(call, None, chosen=False)
    agent = find_agent(call.agents, query.agent) if query.agent else next(iter(call.agents.values()))
    return await _page(call, await in_worker(call, _default_form, agent), chosen=bool(query.agent))


def _default_form(agent: Agent) -> StartForm:
    """Return the form filled with the defaults of the agent's inputs."""
    depth = forms.first_depth(agent.inputs, forms.default_inputs(agent.inputs))
    controls = forms.build_controls(agent.inputs, forms.fill_defaults(agent.inputs, depth), depth)
    return StartForm(agent=agent, key=new_key(), controls=controls, depth=depth)


async def _copied_form(call: Call, run_id: str) -> StartForm:
    """Return the form filled with a run's inputs, and with its settings where they differ from the agent's."""
    run = await call.store.get_run(run_id, max_chars=_MAX_INPUTS_CHARS)
    agent = find_agent(call.agents, run.agent_name)
    return await in_worker(call, _filled_form, agent, run)


def _filled_form(agent: Agent, run: Run) -> StartForm:
    threshold = display_text.number(run.pass_threshold)
    max_attempts = str(run.max_attempts) if run.max_attempts != agent.max_attempts else ""
    pass_threshold = threshold if run.pass_threshold != agent.pass_threshold else ""
    inputs = strict_json.mapping(run.inputs)
    depth = forms.first_depth(agent.inputs, inputs)
    filled = forms.fill_exactly(agent.inputs, inputs, depth)
    size = sum(html_bytes(name + text) for name, texts in filled.values.items() for text in texts)
    if run.is_cut or size > _MAX_INPUTS_BYTES:
        form = attrs.evolve(_default_form(agent), cannot_hold_inputs=True)
    else:
        controls = forms.build_controls(agent.inputs, filled.values, depth)
        lost = [isolated(name) for name in filled.lost]
        form = StartForm(agent=agent, key=new_key(), controls=controls, depth=depth, lost=lost)
    return attrs.evolve(form, max_attempts=max_attempts, pass_threshold=pass_threshold)


async def submit_form(call: Call) -> Response:
    """``POST /agents/start``: starts the run and leads to it, or shows the form again with its faults."""
    form: Form = call.body
    agent = call.agents.get(form.get("agent"))
    if agent is None:
        return await _agent_gone(call, form)
    values: forms.FieldValues = forms.parse_fields(form.fields)
    if form.get("moved"):
        return await _show_again(call, agent, form, values)
    if pointer := form.get("add"):
        return await _show_again(call, agent, form, forms.add_row(values, pointer))
    if pointer := form.get("remove"):
        return await _show_again(call, agent, form, forms.remove_row(values, pointer))
    submission = await to_thread.run_sync(_read_form, call, agent, form, values)
    if submission.faults:
        return await _show_again(call, agent, form, submission.values, submission.faults)
    body: actions.StartRequest = request_values.structure(actions.StartRequest, submission.document)
    # Submitted again unchanged, a form returns the same run; with other inputs, it starts another one.
    run = await actions.start(call, body, key=form_key(form, strict_json.dumps(submission.document)))
    return call.see_other(f"/agents/{segment(run.id)}")


async def _agent_gone(call: Call, form: Form) -> Response:
    """Return the page that says that the agent of a submitted form is gone, with everything that was filled in."""
    kept = [field for field in form.fields if forms.parse_fields([field]) or (field[0] in _SETTINGS and field[1])]
    return await page(
        call,
        "agent-gone.html",
        title="No run was started",
        status=404,
        nav="/agents",
        agent=form.get("agent"),
        agents=list(call.agents),
        fields=kept,
    )


@attrs.frozen(kw_only=True)
class Submission:
    """Submitted form as a body of the API."""

    document: Mapping[str, Any]
    values: forms.FieldValues
    faults: Sequence[Fault]
    """Faults with pointers into the document, as the API reports them."""


def _read_form(call: Call, agent: Agent, form: Form, values: forms.FieldValues) -> Submission:
    """Read and validate a submitted form. Schemas take time: call it from a worker thread."""
    filled = forms.read_inputs(agent.inputs, values, _depth(agent, form))
    document: dict[str, Any] = {"agentName": agent.name, "inputs": filled.inputs}
    for name in _SETTINGS:
        if text := form.get(name).strip():
            document[name] = text if name == "cycleId" else _number(text)
    unreadable = {_INPUTS + fault.pointer for fault in filled.faults}
    faults = [Fault(_INPUTS + fault.pointer, fault.detail) for fault in filled.faults]
    # A field that could not be read is missing from the inputs; that is not a second fault.
    faults += [
        fault
        for fault in (*request_values.find_faults(actions.StartRequest, document), *actions.check_start(call, document))
        if fault.pointer not in unreadable
    ]
    return Submission(document=document, values=filled.values, faults=faults)


def _depth(agent: Agent, form: Form) -> int:
    """Return the depth that a submitted form begins with; one without it was built for the defaults."""
    text = form.get("depth")
    if text.isascii() and text.isdigit() and len(text) == 1:
        return int(text)
    return forms.first_depth(agent.inputs, forms.default_inputs(agent.inputs))


def _number(text: str) -> Any:
    try:
        return float(text) if any(sign in text for sign in ".eE") else int(text)
    except ValueError:
        return text


async def _show_again(
    call: Call, agent: Agent, form: Form, values: forms.FieldValues, faults: Sequence[Fault] = ()
) -> Response:
    """Return the form again, with everything that was filled in and the faults at their fields."""
    input_faults = [Fault(fault.pointer.removeprefix(_INPUTS), fault.detail) for fault in faults if _is_input(fault)]
    setting_faults = {fault.pointer[1:]: fault.detail for fault in faults if not _is_input(fault)}
    depth = _depth(agent, form)
    controls = await in_worker(call, forms.build_controls, agent.inputs, values, depth)
    start_form = StartForm(
        depth=depth,
        agent=agent,
        key=form.get("key") or new_key(),
        controls=forms.mark_faults(controls, input_faults),
        faults=[*forms.list_faults(controls, input_faults), *map(_listed_setting, setting_faults.items())],
        max_attempts=form.get("maxAttempts"),
        pass_threshold=form.get("passThreshold"),
        cycle_id=form.get("cycleId"),
        setting_faults={name: setting_faults.get(name, "") for name in _SETTINGS},
    )
    return await _page(call, start_form, chosen=True, status=422 if faults else 200)


def _is_input(fault: Fault) -> bool:
    return fault.pointer == _INPUTS or fault.pointer.startswith(_INPUTS + "/")


def _listed_setting(fault: tuple[str, str]) -> forms.ListedFault:
    name, detail = fault
    return forms.ListedFault(label=_SETTINGS.get(name, name), detail=detail, target=f"s-{name}")


@attrs.frozen(kw_only=True)
class AgentChoice:
    """One agent that can be chosen."""

    name: str
    description: str
    last_score: float | None
    is_served: bool
    """True if a live runner serves it, or the runners are not known."""


async def _page(
    call: Call, form: StartForm | None, *, chosen: bool, source: str | None = None, status: int = 200
) -> Response:
    fleet = await in_worker(call, fleet_view, await read_fleet(call)) if call.may(Permission.VIEW) else None
    last_scores = {agent.agent: agent.last_score for agent in fleet.overview.agents} if fleet is not None else {}
    choices = [
        AgentChoice(
            name=agent.name,
            description=agent.description,
            last_score=last_scores.get(agent.name),
            is_served=fleet is None or agent.name in fleet.claimed,
        )
        for agent in call.agents.values()
    ]
    return await page(
        call,
        "start.html",
        title="Start a run",
        status=status,
        nav="/agents",
        form=form,
        agents=choices,
        chosen=chosen,
        source=source,
        settings=_SETTINGS,
        outlook=_outlook(fleet, form.agent.name) if form is not None else "",
    )


def _outlook(fleet: FleetView | None, agent: str) -> str:
    """Return a sentence that says when the run would start."""
    if fleet is None:
        return "The run is queued until a runner claims it."
    serving = fleet.serving(agent)
    if not serving:
        return "No live runner serves this agent: the run is queued until one does."
    free = sum(max(runner.slots - runner.busy, 0) for runner in serving)
    names = host_names(serving[:3])
    if not free:
        return f"All slots of {names} are busy; the run starts when one is free."
    return f"The run starts at once on {names}: {free} {'slot is' if free == 1 else 'slots are'} free."
