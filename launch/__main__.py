"""``python -m launch``: plan, submit, status, logs, cancel, timing, sync."""

if __name__ == "__main__":  # nothing is imported where a lane imports this module once more
    from dst.terminal.exits import closed_output_is_quiet
    from launch.cli import main

    with closed_output_is_quiet():
        main()
