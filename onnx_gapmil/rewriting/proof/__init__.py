"""Prove a rewritten model: what it is fed, how it is run, what was measured."""
