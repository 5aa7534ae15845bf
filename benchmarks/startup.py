"""How long the command line takes to say something, beside Optuna's: CPU seconds of a process.

Commands take turns, so that whatever else the machine does slows all of them. Usage:

    python benchmarks/startup.py [REPEATS]
"""

import resource
import statistics
import subprocess
import sys

REFERENCE = ("optuna", "--help")
COMMANDS = (
    ("lambda-nas", "--help"),
    ("lambda-nas", "--version"),
    ("lambda-nas", "serach"),
    ("lambda-nas", "search", "--help"),
)
REPEATS = 10


def cpu_seconds(command: tuple[str, ...]) -> float:
    """Run a command and return its user and system time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main(repeats: int = REPEATS) -> None:
    """Print the median of each command and its ratio to the reference."""
    commands = (REFERENCE, *COMMANDS)
    for command in commands:  # The first run of each compiles what it imports.
        cpu_seconds(command)
    rounds = [[cpu_seconds(command) for command in commands] for _ in range(repeats)]
    print(f"{'command':<28}{'CPU s':>8}{'ratio':>8}")
    for index, command in enumerate(commands):
        seconds = statistics.median(times[index] for times in rounds)
        ratio = statistics.median(times[index] / times[0] for times in rounds)
        print(f"{' '.join(command):<28}{seconds:>8.2f}{ratio:>8.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
