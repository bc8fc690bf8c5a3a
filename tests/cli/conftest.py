"""`flask slots …`: all that looks and decides in `test_cli.py`, `generate` in `test_cli_generate.py`.

Files in and out are in `feeds/test_exchange_commands.py`, decisions at each door in `facade/test_doors.py`.
"""
