"""Information points (PIP): evidence becomes facts here."""
