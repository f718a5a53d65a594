"""`python -m tests.benchmarks`, from the repository's root."""

from .cli import main

if __name__ == "__main__":
    main()
