"""Measuring: samples, statistics, comparison."""
