import pytest

# The helpers that assert: pytest says of a failure in them as much as of one in a test.
pytest.register_assert_rewrite(*(f"{__name__}.{helper}" for helper in ("machine", "model", "play_mdi")))
