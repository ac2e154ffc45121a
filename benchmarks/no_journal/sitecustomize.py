"""On the path of a brain that is measured without its journal: whatever it would write, it does not."""

import importlib.abc
import importlib.util
import sys

NAME = "limen.journal.writer"


class _Finder(importlib.abc.MetaPathFinder):
    """Takes the writing out of the journal's writer as it is imported."""

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name != NAME or "--brain" not in sys.argv:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        run = spec.loader.exec_module

        def exec_module(module):  # type: ignore[no-untyped-def]
            run(module)
            module.Journal.append = lambda self, record, *, urgent=False: None
            module.Journal.append_many = lambda self, items, *, urgent=False: None

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, _Finder())
