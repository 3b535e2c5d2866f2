"""Which pod template should be live: one pure decision over one observation.

Every template that the operator writes carries a rollout number that only rises, and every ReplicaSet remembers the
template it was made from together with the *word* under which it was written: the `spec.model` and the retry annotation
of that moment. That is all it takes to understand a person:

    rollouts   1: fraud/1   2: fraud/2 (word: fraud@champion)
    live       2                          as decided
    live       1, word of 2 == word now   somebody went back with `kubectl rollout undo`: hold what they chose
    live       1, word of 2 != word now   they went back, and then said something new: go on

Nothing here depends on the status of the resource as long as there is a Deployment, so a hold survives a lost status, a
crash between two writes, and a controller that was away while it happened.

A rollout that fails is marked on its ReplicaSet, and the template before it is put back, just as kubectl would do it. The
mark says why, and what was gone back to; so "somebody went back" and "the operator took it back" are told apart the same way
after any crash. What the version itself caused is quarantined: the same files under the same settings are not rolled out
again until a person says so. What the cluster caused is tried again under a new number, later each time.
"""

from dataclasses import replace

from controller.decision import Decision, Kind, Observed, Pause
from controller.rollout import Cause, Mode, OnFailure, PinnedModel, Quarantined, Rollout, newest_of, taken_back


def decide(observed: Observed) -> Decision:
    """The template that should be live. See the module's story for how an undo is told from a rollout."""
    live = observed.live
    if live is None:
        return _first(observed)

    newest = newest_of(live, observed.remembered)
    chosen = _person_chose(observed, live, newest)
    if observed.progress.paused:
        return Decision(kind=Kind.KEEP, model=live.model, number=live.number, held=chosen, pause=Pause.DEPLOYMENT)
    edited = observed.progress.edited
    if not edited and live is newest and (rolled_back := _roll_back(observed, live)) is not None:
        return rolled_back
    decision = _hold(observed, live, newest) if chosen else _go_on(observed, live, newest)
    decision = _in_mode(observed, live, _with_server_update(observed, live, newest, decision))
    if edited and decision.kind is not Kind.REPLACE:
        return replace(decision, kind=Kind.RESTORE, cause=Cause.EDIT_REVERTED)  # and all else that holds goes on to hold
    return _with_pending(observed, live, newest, decision)


def _person_chose(observed: Observed, live: Rollout, newest: Rollout) -> bool:
    """A person wants what is live, or what was live before the operator took it back, and has said nothing new since."""
    if taken_back(live, newest):
        return bool(newest.held) and newest.word == observed.word
    if live.held and live.held_over == newest.number:  # written down when they went back: from then on only their word counts
        return live.word == observed.word
    return _person_went_back(observed, live, newest) or (bool(live.held) and live.word == observed.word)


def _person_went_back(observed: Observed, live: Rollout, newest: Rollout) -> bool:
    """A person went back, and has said nothing new since: all that is said now was known when the newest was still live."""
    others = [each for each in observed.remembered if each.number != live.number]
    last = max(others, key=lambda rollout: rollout.revision, default=newest)
    return newest.number > live.number and observed.word in (newest.word, newest.pending, last.pending)


def _roll_back(observed: Observed, live: Rollout) -> Decision | None:
    """The rollout in progress has failed for certain: back to what served before, and a mark on what failed."""
    failure = observed.progress.failure
    if failure is None or observed.progress.completed or observed.policy.on_failure is OnFailure.HOLD:
        return None
    held = bool(live.held) and live.word == observed.word
    earlier = [
        rollout
        for rollout in observed.remembered
        if rollout.number < live.number and rollout.failed is None and (not held or rollout.model.same(live.model))
    ]
    answering = [rollout for rollout in earlier if rollout.number in observed.progress.answering]
    served = [rollout for rollout in earlier if rollout.number in observed.progress.served]
    both = [rollout for rollout in answering if rollout in served]
    back = max(both or answering or served, key=lambda rollout: rollout.revision, default=None)
    if back is None:
        return None  # nothing before it ever worked: its pods stay for a look
    return Decision(
        kind=Kind.RESTORE,
        model=back.model,
        number=back.number,
        cause=Cause.ROLLED_BACK,
        held=held,
        failed=replace(failure, retry=live.word.retry, back_to=back.number, attempts=_attempts(observed, live)),
        failed_model=live.model,
    )


def _attempts(observed: Observed, live: Rollout) -> int:
    """How often the same was tried, this time included. A mark that was left just before a crash is of this time."""
    before = [
        rollout.failed.attempts
        for rollout in observed.remembered
        if rollout.failed is not None
        and rollout.number < live.number
        and rollout.model.same(live.model)
        and rollout.inputs == live.inputs
        and rollout.failed.retry == live.word.retry
    ]
    own = live.failed
    if own is not None:
        before.append(own.attempts - 1 if own.back_to else own.attempts)
    return 1 + max(before, default=0)


def _go_on(observed: Observed, live: Rollout, newest: Rollout) -> Decision:
    """What the spec asks for, unless it failed before."""
    target, next_number = observed.target, _next_number(observed, newest)
    by_operator = taken_back(live, newest)
    kept = Decision(kind=Kind.KEEP, model=live.model, number=live.number)
    if target is None:
        return _without_target(observed, live, newest, kept)

    as_asked = target.same(live.model) and live.inputs == observed.inputs
    failed = _earlier_failure(observed, target)
    if failed is not None and not as_asked:
        return _after_failure(observed, live, kept, failed, next_number)
    if not target.same(live.model):
        return Decision(kind=Kind.REPLACE, model=target, number=next_number, cause=_cause(observed, newest))
    if live.inputs != observed.inputs:
        return Decision(kind=Kind.REPLACE, model=target, number=next_number, cause=Cause.SPEC_CHANGED)
    if live.number < newest.number:
        if by_operator and newest.word == observed.word:
            return kept
        # Gone back to exactly what is asked for now. Only a higher number can say that nothing is held any more.
        update_failed = by_operator and newest.cause == Cause.SERVER_UPDATE
        cause = Cause.SERVER_UPDATE if update_failed else _cause(observed, newest)
        return Decision(kind=Kind.REPLACE, model=target, number=next_number, cause=cause)
    if observed.progress.first_pods and live.unjudged(observed.now):
        return Decision(kind=Kind.REPLACE, model=target, number=next_number, cause=Cause.SPEC_CHANGED)
    failure = observed.progress.failure
    if failure is not None and not observed.progress.completed:  # and there is nothing to go back to
        if live.word.retry != observed.word.retry or failure.lifted:
            return Decision(kind=Kind.REPLACE, model=target, number=next_number, cause=Cause.RETRY)
        if not failure.by_version and observed.image not in ("", live.image):
            return Decision(kind=Kind.REPLACE, model=target, number=next_number, cause=Cause.SERVER_UPDATE)
    settled = live.word == observed.word and not live.held and live.pending is None
    return replace(kept, kind=Kind.KEEP if settled else Kind.RECORD)


def _without_target(observed: Observed, live: Rollout, newest: Rollout, kept: Decision) -> Decision:
    """What is asked for is unknown or refused. What serves goes on, and what else the spec says about its pods still holds."""
    by_operator = taken_back(live, newest)
    if (live.number < newest.number and not by_operator) or live.held:
        return replace(kept, held=True)  # the word is another one, but there is nothing yet to go on with
    if newest.word != observed.word:
        return kept
    failed = _earlier_failure(observed, newest.model) if by_operator and not observed.refused else None
    if failed is not None:
        kept = replace(kept, failed=failed.failure, failed_model=newest.model)
    return _with_settings(observed, live, kept, _next_number(observed, newest))


def _after_failure(observed: Observed, live: Rollout, kept: Decision, failed: Quarantined, number: int) -> Decision:
    """What failed before: kept out for good where it was the cause, otherwise tried again when its time has come."""
    failure = failed.failure
    told = replace(kept, failed=failure, failed_model=failed.model)
    if failure.by_version:
        return _with_settings(observed, live, told, number)
    if observed.now < failure.next_attempt:
        return _with_settings(observed, live, replace(told, again=failure.next_attempt), number)
    return Decision(kind=Kind.REPLACE, model=failed.model, number=number, cause=Cause.RETRY, held=kept.held)


def _with_settings(observed: Observed, live: Rollout, kept: Decision, number: int) -> Decision:
    """Another version has to wait. Other settings do not: they reach what serves, unless they failed with it."""
    if kept.held or live.inputs == observed.inputs or _earlier_failure(observed, live.model) is not None:
        return kept
    return replace(kept, kind=Kind.REPLACE, number=number, cause=Cause.SPEC_CHANGED)


def _with_pending(observed: Observed, live: Rollout, newest: Rollout, decision: Decision) -> Decision:
    """Note what is asked for and cannot be rolled out yet: who goes back from here on does so knowing of it."""
    if decision.kind is not Kind.KEEP or observed.word in (live.word, live.pending, newest.word, newest.pending):
        return decision
    return replace(decision, kind=Kind.RECORD, pending=observed.word)


def _hold(observed: Observed, live: Rollout, newest: Rollout) -> Decision:
    """A person chose what is live. It stays; other settings that the spec has changed since are applied on top of it.

    The hold is written on the Deployment, so that it does not depend on how long the newer ReplicaSet is kept.
    """
    undone = newest if live.number < newest.number and not taken_back(live, newest) else None
    began = undone.inputs if undone is not None else live.held or live.inputs
    kept = Decision(kind=Kind.KEEP, model=live.model, number=live.number, held=True, held_inputs=began, undone=undone)
    if observed.inputs != began:
        number = _next_number(observed, newest)
        failed = _earlier_failure(observed, live.model)
        if failed is None:
            return replace(kept, kind=Kind.REPLACE, number=number, cause=Cause.SPEC_CHANGED)
        kept = _after_failure(observed, live, kept, failed, number)
    return _written_down(observed, live, kept) if kept.kind is Kind.KEEP else kept


def _written_down(observed: Observed, live: Rollout, kept: Decision) -> Decision:
    """A hold that stays as it is, to be recorded where the Deployment does not say so yet."""
    began, undone = kept.held_inputs, kept.undone
    if live.held == began and live.word == observed.word and (undone is None or live.held_over == undone.number):
        return kept
    return replace(kept, kind=Kind.RECORD, cause=Cause.UNDO if undone is not None else None)


def _first(observed: Observed) -> Decision:
    """There is no Deployment: it never was, or somebody deleted it, perhaps without its ReplicaSets."""
    number = 1 + max((observed.last_number, *(rollout.number for rollout in observed.remembered)))
    held = observed.last_hold
    if held is not None and (observed.target is None or observed.last_hold_word == observed.word):
        word = observed.last_hold_word
        return Decision(kind=Kind.CREATE, model=held, number=number, cause=Cause.CREATED, held=True, word=word)
    target, served = observed.target, observed.last_served
    failed = _earlier_failure(observed, target) if target is not None and served is not None else None
    pause = None if target is None or (served is not None and target.same(served)) else _pause(observed, target)
    model = served if failed is not None or pause is not None else target or served
    if model is None:
        return Decision(kind=Kind.WAIT, pause=pause)
    created = Decision(kind=Kind.CREATE, model=model, number=number, cause=Cause.CREATED, pause=pause)
    return replace(created, failed=failed.failure, failed_model=target) if failed is not None else created


def _with_server_update(observed: Observed, live: Rollout, newest: Rollout, decision: Decision) -> Decision:
    """The administrator wants what runs to be moved to another server image, and nothing else is to be done."""
    if decision.kind is not Kind.KEEP or decision.failed is not None or not observed.progress.completed:
        return decision
    if live.word != observed.word:
        return decision  # what is asked for waits; a rollout now would write it down as met
    if not observed.may_update or observed.image in ("", live.image) or live.inputs != observed.inputs:
        return decision
    marks = [
        each.failed
        for each in observed.remembered
        if each.failed is not None and (each.image, each.inputs) == (observed.image, live.inputs) and each.model.same(live.model)
    ]
    if any(mark.by_version for mark in marks):
        return decision  # the model does not work with it
    if marks and observed.now < (again := max(mark.next_attempt for mark in marks)):
        return replace(decision, again=again)
    return replace(decision, kind=Kind.REPLACE, number=_next_number(observed, newest), cause=Cause.SERVER_UPDATE)


def _in_mode(observed: Observed, live: Rollout, decision: Decision) -> Decision:
    """The decision, unless a person is to be asked first. Bringing pods back to what they were needs no permission."""
    if decision.kind is not Kind.REPLACE or decision.model is None:
        return decision
    if decision.model.same(live.model) and observed.policy.mode is not Mode.PAUSED:
        return decision
    pause = _pause(observed, decision.model)
    if pause is None:
        return decision
    kept = Decision(kind=Kind.KEEP, model=live.model, number=live.number, pause=pause)
    if decision.held:
        return _written_down(observed, live, replace(kept, held=True, held_inputs=decision.held_inputs, undone=decision.undone))
    return _with_settings(observed, live, kept, decision.number) if pause is Pause.APPROVAL else kept


def _pause(observed: Observed, model: PinnedModel) -> Pause | None:
    mode = observed.policy.mode
    if mode is Mode.PAUSED:
        return Pause.MODE
    approved = observed.policy.approved == f"{model.name}/{model.version}"
    return Pause.APPROVAL if mode is Mode.MANUAL and not approved else None


def _earlier_failure(observed: Observed, target: PinnedModel) -> Quarantined | None:
    """How the same files failed under the same settings, with no retry asked for since.

    Not with another server image while they served with the one before: that says nothing about the version.
    """
    marked = [
        Quarantined(model=each.model, inputs=each.inputs, failure=each.failed)
        for each in observed.remembered
        if each.failed is not None and each.cause != Cause.SERVER_UPDATE
    ]
    known = [
        each
        for each in (*marked, *observed.quarantined)
        if each.model.same(target)
        and each.inputs == observed.inputs
        and each.failure.retry == observed.word.retry
        and not each.failure.lifted
    ]
    return max(known, key=lambda each: each.failure.at, default=None)


def _next_number(observed: Observed, newest: Rollout) -> int:
    """Higher than any that was ever given, also where ReplicaSets are gone."""
    return 1 + max(newest.number, observed.last_number)


def _cause(observed: Observed, newest: Rollout) -> Cause:
    return Cause.RETRY if observed.word.retry != newest.word.retry else Cause.MODEL_CHANGED
