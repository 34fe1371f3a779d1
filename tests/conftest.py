"""What holds for all tests."""

from hypothesis import settings

# How long one example takes says nothing on a shared machine.
settings.register_profile("linnaeus", deadline=None)
settings.load_profile("linnaeus")
