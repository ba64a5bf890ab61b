"""Benchmarks of finished runs: yardsticks beyond accuracy, each with what others have published."""
