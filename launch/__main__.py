"""``python -m launch``: plan, submit, status, logs, cancel, timing, sync."""

if __name__ == "__main__":  # nothing is imported where a training process imports this module once more
    from launch.cli import main

    main()
