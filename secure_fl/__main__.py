"""`python -m secure_fl` is `secure-fl`, for machines on which the scripts folder is not on the path."""

from secure_fl.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
