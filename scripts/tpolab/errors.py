"""What can go wrong in the lab, in words that say what to do."""


class LabError(Exception):
    """The lab cannot do what was asked; the message says why."""
