"""The pure part: values in, values out. No clock, randomness, input or output, logging or async."""
