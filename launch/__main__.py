"""``python -m launch``: plan, submit, status, logs, cancel, timing, sync."""

from launch.cli import main

if __name__ == "__main__":
    main()
