"""What the operator waits for before it asks for the leadership."""

from typing import cast

import aiohttp
import pytest

from controller import __main__ as main
from controller.cluster import ApiError, Cluster


class Starting:
    """An API server that gives these answers, one after the other."""

    def __init__(self, *answers: bool | Exception) -> None:
        self.answers = list(answers)

    async def defines(self, kind: str) -> bool:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_an_api_server_that_is_away_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(main, "DEFINITION_SECONDS", 0.0)
    away = (
        aiohttp.ClientConnectionError("refused"),
        TimeoutError(),
        ConnectionResetError(),
        ApiError(503, "ServiceUnavailable", "etcd"),
    )
    cluster = Starting(*away, False, True)
    await main._until_defined(cast(Cluster, cluster))
    assert cluster.answers == []
    assert [record.message for record in caplog.records] == ["DefinitionNotRead"] * len(away) + ["DefinitionMissing"]
    assert all(record.exc_info is None for record in caplog.records)
