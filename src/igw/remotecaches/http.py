"""Questions to caches over HTTP. What is asked, and what an answer means, is said in the file of each cache."""

from __future__ import annotations

import aiohttp

from igw.bounded import whole

_MOST_ANSWER_BYTES = 4 << 20


class AnswerError(Exception):
    """A cache answered what cannot be used; the sentence says what."""


class Client:
    """Connections to caches, shared by all of them."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def post(self, url: str, body: bytes, media_type: str = "application/json") -> bytes:
        """Return the answer's body.

        Raises:
            AnswerError: it is no 200, or too long.
            aiohttp.ClientError: there is none.
        """
        async with self._session.post(url, data=body, headers={"content-type": media_type}) as response:
            if response.status != 200:
                raise AnswerError(f"{url} answered {response.status}")
            try:
                return await whole(response.content.iter_any(), _MOST_ANSWER_BYTES, f"the answer of {url}")
            except ValueError as error:
                raise AnswerError(str(error)) from error
