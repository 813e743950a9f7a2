"""An agent that makes a brief of a document: deterministic, without a model and without the network."""
