"""The table of `decide`: what is live after each thing that people, registries and accidents do."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from controller.decide import decide
from controller.decision import Decision, Kind, Observed
from controller.rollout import Cause, Failure, Mode, OnFailure, PinnedModel, Policy, Progress, Quarantined, Word
from tests.unit.controller.factories import CHAMPION, NOW, model, observed, rollout

PINNED_TO_ONE = Word(request="fraud/1")
RETRIED = Word(request="fraud@champion", retry="now")


def test_nothing_there_and_nothing_known_waits() -> None:
    assert decide(observed(target=None)).kind is Kind.WAIT


def test_the_first_rollout_is_number_one() -> None:
    decision = decide(observed(target=model(1)))
    assert (decision.kind, decision.model, decision.number, decision.cause) == (Kind.CREATE, model(1), 1, Cause.CREATED)


def test_what_is_asked_for_and_live_is_kept() -> None:
    assert decide(observed(target=model(1), live=rollout(1, 1))).kind is Kind.KEEP


def test_another_version_is_rolled_out_under_the_next_number() -> None:
    decision = decide(observed(target=model(2), live=rollout(1, 1)))
    assert (decision.kind, decision.model, decision.number, decision.cause) == (Kind.REPLACE, model(2), 2, Cause.MODEL_CHANGED)


def test_an_older_version_by_spec_is_a_rollout_like_any_other() -> None:
    decision = decide(observed(word=PINNED_TO_ONE, target=model(1), live=rollout(2, 2), remembered=(rollout(1, 1),)))
    assert (decision.kind, decision.model, decision.number, decision.held) == (Kind.REPLACE, model(1), 3, False)


def test_the_same_version_number_with_other_files_is_another_model() -> None:
    again = model(1, digest="sha256:" + "f" * 64)
    assert decide(observed(target=again, live=rollout(1, 1))).model == again


def test_other_settings_roll_the_same_model() -> None:
    decision = decide(observed(inputs="other", live=rollout(1, 1)))
    assert (decision.kind, decision.model, decision.cause) == (Kind.REPLACE, model(1), Cause.SPEC_CHANGED)


class TestUndo:
    """Rollouts 1 (version 1) and 2 (version 2) were made under the same word; a person goes back to 1."""

    remembered = (rollout(1, 1, revision=3), rollout(2, 2))
    undone = rollout(1, 1, revision=3)
    recorded = rollout(1, 1, revision=3, held="as-before", held_over=2)

    def test_is_held(self) -> None:
        decision = decide(observed(target=model(2), live=self.undone, remembered=self.remembered))
        assert (decision.kind, decision.model, decision.held) == (Kind.RECORD, model(1), True)
        assert decision.undone == rollout(2, 2)

    def test_is_held_while_the_alias_moves_on(self) -> None:
        decision = decide(observed(target=model(3), live=self.recorded, remembered=self.remembered))
        assert (decision.kind, decision.model, decision.held) == (Kind.KEEP, model(1), True)

    def test_is_held_while_the_registry_is_away(self) -> None:
        decision = decide(observed(target=None, live=self.recorded, remembered=self.remembered))
        assert (decision.kind, decision.held) == (Kind.KEEP, True)

    def test_is_held_when_what_was_undone_is_forgotten(self) -> None:
        """Twelve restarts later the ReplicaSet of rollout 2 is gone; what the person chose is written on what is live."""
        decision = decide(observed(target=model(2), live=self.recorded, remembered=(self.recorded,)))
        assert (decision.kind, decision.model, decision.held) == (Kind.KEEP, model(1), True)

    def test_is_held_until_there_is_something_to_go_on_with(self) -> None:
        asked = Word(request="fraud/77")
        decision = decide(observed(word=asked, target=None, live=self.recorded, remembered=self.remembered))
        assert (decision.kind, decision.model, decision.held, decision.pending) == (Kind.RECORD, model(1), True, asked)
        noted = replace(self.recorded, pending=asked)
        assert decide(observed(word=asked, target=None, live=noted, remembered=self.remembered)).kind is Kind.KEEP

    def test_under_another_word_ends_when_the_word_before_is_said_again(self) -> None:
        """They went back while the spec had a typo: what they say now is new, although the newest rollout was made under it."""
        typo = Word(request="fraud/77")
        recorded = replace(self.recorded, word=typo)
        remembered = (recorded, replace(self.remembered[1], pending=typo))
        assert decide(observed(word=typo, target=None, live=recorded, remembered=remembered)).held
        decision = decide(observed(word=CHAMPION, target=model(2), live=recorded, remembered=remembered))
        assert (decision.kind, decision.model, decision.held) == (Kind.REPLACE, model(2), False)

    def test_knowing_of_a_wish_that_was_noted_on_what_was_live_last_is_held(self) -> None:
        """Not the newest: that was taken back before the wish was said."""
        asked = Word(request="fraud/4")
        failed = Failure(reason="r", message="m", by_version=True, at=NOW, back_to=2)
        remembered = (
            rollout(1, 1, revision=5),
            rollout(2, 2, revision=4, pending=asked, instead_of=3),
            rollout(3, 3, revision=3, failed=failed),
        )
        live = rollout(1, 1, revision=5, instead_of=0)
        assert decide(observed(word=asked, target=model(4), live=live, remembered=remembered)).held

    def test_other_settings_are_applied_on_top_of_what_is_held(self) -> None:
        decision = decide(observed(target=model(2), inputs="other", live=self.undone, remembered=self.remembered))
        assert (decision.kind, decision.model, decision.number, decision.held) == (Kind.REPLACE, model(1), 3, True)

    def test_is_written_down_while_the_other_settings_wait(self) -> None:
        paused = Policy(mode=Mode.PAUSED)
        states = {"inputs": "other", "target": model(2), "policy": paused, "remembered": self.remembered}
        decision = decide(observed(live=self.undone, **states))
        assert (decision.kind, decision.cause, decision.held_inputs) == (Kind.RECORD, Cause.UNDO, "as-before")
        assert decide(observed(live=self.recorded, **states)).kind is Kind.KEEP

    def test_and_what_is_applied_on_top_stays_held(self) -> None:
        live = rollout(3, 1, inputs="other", held="other")
        decision = decide(observed(target=model(2), inputs="other", live=live, remembered=self.remembered))
        assert (decision.kind, decision.model, decision.held) == (Kind.KEEP, model(1), True)

    def test_ends_when_the_person_says_something_new(self) -> None:
        decision = decide(observed(word=Word(request="fraud/3"), target=model(3), live=self.undone, remembered=self.remembered))
        assert (decision.kind, decision.model, decision.number, decision.held) == (Kind.REPLACE, model(3), 3, False)

    def test_ends_with_a_retry(self) -> None:
        decision = decide(observed(word=RETRIED, target=model(2), live=self.undone, remembered=self.remembered))
        assert (decision.kind, decision.model, decision.cause, decision.held) == (Kind.REPLACE, model(2), Cause.RETRY, False)

    def test_on_top_ends_with_a_retry(self) -> None:
        live = rollout(3, 1, inputs="other", held="other")
        decision = decide(observed(word=RETRIED, target=model(2), inputs="other", live=live, remembered=self.remembered))
        assert (decision.kind, decision.model, decision.number, decision.held) == (Kind.REPLACE, model(2), 4, False)

    def test_of_an_undo_returns_to_following(self) -> None:
        remembered = (rollout(1, 1, revision=3), rollout(2, 2, revision=4))
        decision = decide(observed(target=model(3), live=rollout(2, 2, revision=4), remembered=remembered))
        assert (decision.kind, decision.model, decision.held) == (Kind.REPLACE, model(3), False)

    def test_asking_for_what_is_held_settles_under_a_higher_number(self) -> None:
        decision = decide(observed(word=PINNED_TO_ONE, target=model(1), live=self.undone, remembered=self.remembered))
        assert (decision.kind, decision.model, decision.number, decision.held) == (Kind.REPLACE, model(1), 3, False)

    def test_of_a_rollback_by_version_is_held_too(self) -> None:
        remembered = (rollout(1, 1), rollout(2, 2, revision=4), rollout(3, 1, word=PINNED_TO_ONE))
        decision = decide(observed(word=PINNED_TO_ONE, target=model(1), live=rollout(2, 2), remembered=remembered))
        assert (decision.kind, decision.model, decision.held) == (Kind.RECORD, model(2), True)


class TestWord:
    def test_the_same_model_in_other_words_rolls_nothing_but_is_remembered(self) -> None:
        decision = decide(observed(word=PINNED_TO_ONE, target=model(1), live=rollout(1, 1)))
        assert (decision.kind, decision.number) == (Kind.RECORD, 1)

    def test_a_retry_with_nothing_to_retry_is_remembered(self) -> None:
        assert decide(observed(word=RETRIED, live=rollout(1, 1))).kind is Kind.RECORD

    def test_asking_for_what_is_held_on_top_ends_the_hold_without_a_rollout(self) -> None:
        live = rollout(3, 1, held="as-before")
        decision = decide(observed(word=PINNED_TO_ONE, target=model(1), live=live, remembered=(rollout(2, 2),)))
        assert (decision.kind, decision.held) == (Kind.RECORD, False)


class TestUnknownTarget:
    def test_what_serves_goes_on(self) -> None:
        assert decide(observed(target=None, live=rollout(1, 1))).kind is Kind.KEEP

    def test_other_settings_still_reach_what_serves(self) -> None:
        decision = decide(observed(target=None, inputs="other", live=rollout(1, 1)))
        assert (decision.kind, decision.model) == (Kind.REPLACE, model(1))

    def test_but_not_while_another_model_is_asked_for(self) -> None:
        asked = Word(request="fraud/9")
        decision = decide(observed(word=asked, target=None, inputs="other", live=rollout(1, 1)))
        assert (decision.kind, decision.model, decision.pending) == (Kind.RECORD, model(1), asked)
        noted = rollout(1, 1, pending=asked)
        assert decide(observed(word=asked, target=None, inputs="other", live=noted)).kind is Kind.KEEP


class TestDeletedDeployment:
    def test_counts_on_from_replica_sets_that_were_left_behind(self) -> None:
        decision = decide(observed(target=model(2), remembered=(rollout(1, 1), rollout(4, 2))))
        assert (decision.kind, decision.number) == (Kind.CREATE, 5)

    def test_comes_back_with_what_the_spec_asks_for(self) -> None:
        assert decide(observed(target=model(2), last_served=model(1))).model == model(2)

    def test_comes_back_with_what_served_while_the_registry_is_away(self) -> None:
        decision = decide(observed(target=None, last_served=model(1)))
        assert (decision.kind, decision.model) == (Kind.CREATE, model(1))

    def test_comes_back_with_what_a_person_held(self) -> None:
        held: PinnedModel = model(1)
        decision = decide(observed(target=model(2), last_served=model(2), last_hold=held, last_hold_word=CHAMPION))
        assert (decision.kind, decision.model, decision.held) == (Kind.CREATE, held, True)

    def test_comes_back_held_under_the_word_of_then_while_there_is_nothing_to_go_on_with(self) -> None:
        told = {"last_served": model(1), "last_hold": model(1), "last_hold_word": CHAMPION, "word": Word(request="fraud/77")}
        decision = decide(observed(target=None, **told))
        assert (decision.kind, decision.model, decision.held, decision.word) == (Kind.CREATE, model(1), True, CHAMPION)
        assert not decide(observed(target=model(2), **told)).held


class TestTooSlow:
    """Version 2 was too slow for a gate in its pods."""

    FAILURE = Failure(reason="LatencyTooHigh", message="m", by_version=True, at=NOW, back_to=1, limit=20)

    @pytest.mark.parametrize(("lifted", "expected"), [(False, model(1)), (True, model(2))])
    def test_a_deleted_deployment_comes_back_with_it_once_the_gate_is_raised(self, lifted: bool, expected: PinnedModel) -> None:
        mark = Quarantined(model=model(2), inputs="as-before", failure=replace(self.FAILURE, lifted=lifted))
        decision = decide(observed(target=model(2), last_served=model(1), quarantined=(mark,)))
        assert (decision.kind, decision.model) == (Kind.CREATE, expected)

    @pytest.mark.parametrize(("lifted", "expected"), [(False, Kind.KEEP), (True, Kind.REPLACE)])
    def test_so_do_other_settings_of_what_a_person_holds(self, lifted: bool, expected: Kind) -> None:
        failed = replace(self.FAILURE, lifted=lifted)
        newest, live = rollout(3, 1, inputs="other", held="other", failed=failed), rollout(1, 1, held="as-before")
        decision = decide(observed(target=model(2), inputs="other", live=live, remembered=(live, newest)))
        assert (decision.kind, decision.model, decision.held) == (expected, model(1), True)


WORDS = (CHAMPION, PINNED_TO_ONE, RETRIED, Word(request="fraud/9"))


def test_decisions_that_are_carried_out_come_to_rest() -> None:
    """Whatever the state, and whatever was decided: a few writes later there is nothing to do. No loop of rollouts."""
    for seed in range(4000):
        state, writes = anything(random.Random(seed)), []
        while (decision := decide(state)).kind not in (Kind.KEEP, Kind.WAIT):
            writes.append((decision.kind.value, decision.cause))
            assert len(writes) <= 4, (seed, writes)
            state = carried_out(state, decision)


def anything(draw: random.Random) -> Observed:
    """A state that people, registries and accidents may have brought about."""

    def failure(number: int) -> Failure:
        return Failure(
            reason="Failed",
            message="m",
            by_version=draw.random() < 0.5,
            at=NOW - timedelta(minutes=draw.choice((0, 500))),
            retry=draw.choice(("", "now")),
            back_to=draw.choice((0, *range(1, number))),
            attempts=draw.randint(1, 3),
        )

    remembered = tuple(
        rollout(
            number,
            draw.randint(1, 3),
            word=draw.choice(WORDS),
            inputs=draw.choice(("as-before", "other")),
            held=draw.choice(("", "", "as-before", "other")),
            held_over=draw.choice((0, 0, 1, 2, 3)),
            pending=draw.choice((None, None, WORDS[-1])),
            instead_of=draw.choice((None, 0, 1, 2, 3)),
            failed=failure(number) if draw.random() < 0.35 else None,
            image=draw.choice(("server:1", "server:2")),
            cause=draw.choice(("ModelChanged", "ServerUpdate")),
        )
        for number in range(1, draw.randint(2, 4))
    )
    completed = draw.random() < 0.6
    return observed(
        word=draw.choice(WORDS),
        inputs=draw.choice(("as-before", "other")),
        target=draw.choice((None, model(1), model(2), model(3))),
        refused=draw.random() < 0.3,
        live=draw.choice(remembered),
        remembered=remembered,
        policy=Policy(
            mode=draw.choice(list(Mode)),
            approved=draw.choice(("", "fraud/1", "fraud/2")),
            on_failure=draw.choice(list(OnFailure)),
        ),
        progress=Progress(
            completed=completed,
            failure=failure(1) if not completed and draw.random() < 0.5 else None,
            answering=frozenset(draw.sample(range(1, 4), draw.randint(0, 2))),
            served=frozenset(draw.sample(range(1, 4), draw.randint(0, 2))),
        ),
        image=draw.choice(("", "server:1", "server:2")),
        may_update=draw.random() < 0.3,
    )


def carried_out(state: Observed, decision: Decision) -> Observed:
    """The same a moment later: what was decided is live, and comes about."""
    live = state.live
    assert live is not None
    if decision.kind is Kind.REPLACE:
        assert decision.model is not None
        new = rollout(
            decision.number,
            0,
            model=decision.model,
            word=state.word,
            inputs=state.inputs,
            held=state.inputs if decision.held else "",
            cause=decision.cause,
            image=state.image or live.image,
        )
        assert new.number > max(each.number for each in state.remembered)
        return replace(state, live=new, remembered=(*state.remembered, new), progress=Progress())
    if decision.kind is Kind.RESTORE:
        marked = [replace(each, failed=decision.failed) if each.number == live.number else each for each in state.remembered]
        back = next(each for each in marked if each.number == decision.number)
        back = replace(back, held=back.held if decision.held else "", held_over=0, pending=None, instead_of=live.number)
        return replace(state, live=back, remembered=tuple(marked), progress=Progress())
    written = (
        replace(live, pending=decision.pending)
        if decision.pending is not None
        else replace(
            live,
            word=state.word,
            held=decision.held_inputs,
            held_over=decision.undone.number if decision.undone is not None else 0,
            pending=None,
        )
    )
    others = [each for each in state.remembered if each.number != live.number]
    return replace(state, live=written, remembered=(*others, written))
