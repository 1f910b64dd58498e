"""A Llama-like decoder in bfloat16 on the CPU, with compiled kernels between its matrix products."""
