"""What one scontrol call carries from keyword to keyword: its flags, its exit code, and where it prints."""

from __future__ import annotations

from sbroker.api import Api, Call, Client
from sbroker.errors import Code, Refused
from slurm_compat.messages import control_sentence
from slurm_compat.show.scene import Scene


class Session:
    """Flags as Slurm's keywords set them: `quiet` is -1 verbose, 0, or 1 quiet. `code` becomes scontrol's exit code."""

    def __init__(self, call: Call, client: Client, api: Api, version: str) -> None:
        self.call, self.client, self.api, self.version = call, client, api, version
        self.all = self.detail = self.oneliner = False
        self.quiet = 0
        self.code = 0
        self.done = False

    def scene(self) -> Scene:
        return Scene(
            self.api.view, self.api.config, self.call.env, self.api.now(), version=self.version, detail=self.detail, oneliner=self.oneliner
        )

    async def out(self, text: str) -> None:
        if text:
            await self.client.out(text)

    async def err(self, text: str) -> None:
        if text:
            await self.client.out(text, 2)

    async def fail(self, text: str, *, always: bool = False) -> None:
        """Exit code 1, and a complaint unless -Q (`always`: even then). `text` without newline."""
        self.code = 1
        if always or self.quiet != 1:
            await self.err(text + "\n")

    async def operators_only(self, words: str) -> bool:
        """True for root and operators; else says "`words` error: Invalid user id"."""
        if self.call.admin:
            return True
        await self.fail(f"{words} error: Invalid user id")
        return False

    async def not_here(self, what: str) -> None:
        """The one sentence for what this release does not have."""
        await self.fail(f"scontrol: error: {what} is not available here yet", always=True)


def words_of(refused: Refused, session: Session, uid: int | None = None, *, owner_first: bool = False) -> str:
    """Slurm's sentence for a refusal. `owner_first`: keywords that check the owner of the job (`uid`) before all else say it their way."""
    foreign = uid is not None and uid != session.call.uid and not session.call.operator
    if owner_first and foreign and refused.code is Code.ACCESS_DENIED:
        return "Invalid user id"
    return control_sentence(refused)
