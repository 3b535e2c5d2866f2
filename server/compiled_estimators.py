"""Estimators turned into functions: linear ones, and those that are made of others (server.compiled_trees has the trees)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from server import program
from server.compiled_steps import steps
from server.compiled_trees import boosted, summed, votes
from server.program import Pipe
from server.scores import Ask, Matrix, Outcome, expit, finite, huber, normalized, of_two, planes, softmax


def pipe(part: Pipe, directory: Path) -> Ask:
    """What answers with an estimator, after the steps before it."""
    ask = FINALS[type(part.final)](part.final, directory)
    if not part.steps:
        return ask
    change = steps(part.steps)
    return lambda data: ask(change(data))


def _linear_classifier(part: program.LinearClassifier, _: Path) -> Ask:
    coefficients, intercepts = np.array(part.coefficients), np.array(part.intercepts)
    binary, link = len(part.coefficients) == 1, part.probabilities

    def ask(data: Matrix) -> Outcome:
        scores = planes(finite(data), coefficients) + intercepts
        if binary:
            score = scores[:, 0]
            chosen = (score > 0).astype(np.intp)
            if link is None:
                return Outcome(chosen, None, score)
            return Outcome(chosen, of_two(expit(score) if link == "logistic" else huber(score)), score)
        chosen = scores.argmax(axis=1)
        match link:
            case None:
                return Outcome(chosen, None, scores)
            case "softmax":
                return Outcome(chosen, softmax(scores), scores)
            case "logistic":
                return Outcome(chosen, normalized(expit(scores)), scores)
            case "huber":
                return Outcome(chosen, normalized(huber(scores)), scores)

    return ask


def _linear(part: program.Linear, _: Path) -> Ask:
    coefficients, intercept, exponential = np.array([part.coefficients]), part.intercept, part.link == "exp"

    def ask(data: Matrix) -> Outcome:
        value = planes(finite(data), coefficients)[:, 0] + intercept
        return Outcome(np.exp(value) if exponential else value)

    return ask


def _calibrated(part: program.Calibrated, directory: Path) -> Ask:
    members = [
        (pipe(member.of, directory), list(zip(member.classes, map(_correction, member.corrections), strict=True)))
        for member in part.members
    ]

    def ask(data: Any) -> Outcome:
        total: Any = 0.0
        for of, corrections in members:
            scores = _scores(of(data))
            probabilities = np.zeros((len(scores), part.size))
            for (index, correct), column in zip(corrections, scores.T, strict=True):
                probabilities[:, index] = correct(column)
            if part.size == 2:
                probabilities[:, 0] = 1.0 - probabilities[:, 1]
            else:
                probabilities = normalized(probabilities)
            probabilities[(probabilities > 1.0) & (probabilities <= 1.0 + 1e-5)] = 1.0
            total = total + probabilities
        total /= len(members)
        return Outcome(total.argmax(axis=1), total)

    return ask


def _correction(part: program.Sigmoid | program.Isotonic) -> Callable[[Matrix], Matrix]:
    if isinstance(part, program.Sigmoid):
        return lambda scores: expit(-(part.slope * scores + part.intercept))
    points, values = np.array(part.scores), np.array(part.probabilities)
    return lambda scores: np.interp(scores, points, values)


def _vote(part: program.Vote, directory: Path) -> Ask:
    members = [pipe(member, directory) for member in part.members]
    weights = None if part.weights is None else np.array(part.weights)

    def soft(data: Any) -> Outcome:
        mean = np.average([member(data).probabilities for member in members], axis=0, weights=weights)
        return Outcome(mean.argmax(axis=1), mean)

    def hard(data: Any) -> Outcome:
        votes = np.zeros((len(data[0]) if isinstance(data, list) else len(data), part.size))
        for number, member in enumerate(members):
            chosen = member(data).chosen
            votes[np.arange(len(votes)), chosen] += 1.0 if weights is None else weights[number]
        return Outcome(votes.argmax(axis=1))

    return soft if part.soft else hard


def _mean(part: program.Mean, directory: Path) -> Ask:
    members = [pipe(member, directory) for member in part.members]
    weights = None if part.weights is None else np.array(part.weights)
    return lambda data: Outcome(np.average(np.stack([member(data).chosen for member in members], 1), axis=1, weights=weights))


def _stacked(part: program.Stacked, directory: Path) -> Ask:
    members = list(zip((pipe(member, directory) for member in part.members), part.responses, strict=True))
    last = pipe(part.of, directory)

    def ask(data: Any) -> Outcome:
        answers = [_response(member(data), response) for member, response in members]
        return last(np.hstack([*answers, data] if part.passthrough else answers))

    return ask


def _response(outcome: Outcome, response: program.Response) -> Matrix:
    match response:
        case "predict":
            return outcome.chosen[:, None]
        case "predict_proba":
            probabilities = cast(Matrix, outcome.probabilities)
            return probabilities[:, 1:] if probabilities.shape[1] == 2 else probabilities
        case "decision_function":
            decision = cast(Matrix, outcome.decision)
            return decision[:, None] if decision.ndim == 1 else decision


def _threshold(part: program.Threshold, directory: Path) -> Ask:
    of = pipe(part.of, directory)

    def ask(data: Any) -> Outcome:
        outcome = of(data)
        if part.response == "predict_proba":
            score = cast(Matrix, outcome.probabilities)[:, part.positive]
        else:
            score = cast(Matrix, outcome.decision) if part.positive == 1 else -cast(Matrix, outcome.decision)
        chosen = np.where(score >= part.threshold, part.positive, 1 - part.positive)
        return Outcome(chosen, outcome.probabilities, outcome.decision)

    return ask


def _scores(outcome: Outcome) -> Matrix:
    """What a calibrator corrects: the decision, else the probabilities; of two classes, the second's."""
    if outcome.decision is not None:
        return outcome.decision[:, None] if outcome.decision.ndim == 1 else outcome.decision
    probabilities = cast(Matrix, outcome.probabilities)
    return probabilities[:, 1:] if probabilities.shape[1] == 2 else probabilities


FINALS: dict[type[program.Part], Callable[[Any, Path], Ask]] = {
    program.Votes: votes,
    program.Boosted: boosted,
    program.Sum: summed,
    program.LinearClassifier: _linear_classifier,
    program.Linear: _linear,
    program.Calibrated: _calibrated,
    program.Vote: _vote,
    program.Mean: _mean,
    program.Stacked: _stacked,
    program.Threshold: _threshold,
}
