"""Cases of :class:`loopkit.testing.StorageSuite`, one module per subject."""
