"""Throughput, memory, parameters and MACs: measurements, price tables, constraints."""
