"""The only place where the program meets what it can't foresee: clocks, randomness, durability, processes."""
