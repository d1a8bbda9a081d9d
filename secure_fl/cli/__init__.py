"""The command line, `secure-fl`: one file a command group, loaded only when its command is called.

Nothing here imports torch, Flower, scikit-learn, matplotlib or NumPy at module level, so that
`secure-fl --help` answers at once; a test holds this.
"""

__all__: list[str] = []
