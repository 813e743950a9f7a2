"""Stores: implementations of :class:`loopkit.storage.Storage`."""
