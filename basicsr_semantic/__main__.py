"""``python -m basicsr_semantic``: the same as the ``basicsr`` command."""

from basicsr_semantic.cli import main

if __name__ == '__main__':
    raise SystemExit(main())
