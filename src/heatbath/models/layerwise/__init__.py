"""Short texts scored with weights that are read layer by layer: without `transformers`, and without a whole model."""
