"""One module a command: ``async def run(call, client, api) -> int``."""
