"""``python -m launch``: plan, submit, status, logs, cancel, timing, sync."""

if __name__ == "__main__":  # spawned training processes import this module again
    from .cli import main

    main()
