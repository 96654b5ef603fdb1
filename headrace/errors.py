"""Errors whose message is for the user: it says why, and what to do next."""


class UserError(Exception):
    """The command cannot do what was asked."""


class ServiceError(Exception):
    """The service did not come up, or does not answer."""


class FirstProblems(list[str]):
    def note(self, problem: str, most: int = 20) -> None:
        if len(self) <= most:
            self.append(problem if len(self) < most else "… and more")
