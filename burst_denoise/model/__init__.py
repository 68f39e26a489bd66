"""From bursts to a model: network, training pairs, training, validation, the model file."""
