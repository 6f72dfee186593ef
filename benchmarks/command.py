"""The program, for `processes.run`: `python -m benchmarks.command index GALLERY ARCHIVE ...`."""

from medsiglip_search.cli import main

if __name__ == "__main__":
    main()
