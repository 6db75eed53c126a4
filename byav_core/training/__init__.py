"""The paper's three stages of training (§3.4): one page each for what is minimised, what trains, and one step of it."""
