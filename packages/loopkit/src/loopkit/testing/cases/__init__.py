"""The cases of :class:`loopkit.testing.StorageSuite`, one module a subject."""
