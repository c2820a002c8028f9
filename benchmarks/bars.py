"""What a benchmark promises: each figure is printed beside its bar, and one that misses it makes the exit code 1."""

import sys


class Bars:
    """Of one run. `at_least` and `at_most` print; `exit` ends the process with what they found."""

    def __init__(self) -> None:
        self.missed: list[str] = []

    def at_least(self, what: str, figure: float, bar: float, unit: str = "") -> bool:
        """Whether it is met."""
        return self._judge(what, figure, f"at least {bar:g}{unit}", figure >= bar, unit)

    def at_most(self, what: str, figure: float, bar: float, unit: str = "") -> bool:
        """Whether it is met."""
        return self._judge(what, figure, f"at most {bar:g}{unit}", figure <= bar, unit)

    def _judge(self, what: str, figure: float, bar: str, is_met: bool, unit: str) -> bool:
        print(f"{what}: {figure:.3g}{unit} (bar: {bar}, {'met' if is_met else 'MISSED'})", flush=True)
        if not is_met:
            self.missed.append(what)
        return is_met

    def exit(self) -> None:
        """With 0, or with 1 and what was missed."""
        sys.exit(f"missed: {'; '.join(self.missed)}" if self.missed else 0)
