"""The commands: one module a name, each ``async def run(call, client, api) -> int`` around pure functions."""
