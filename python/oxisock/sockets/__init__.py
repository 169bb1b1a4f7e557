"""What touches the system and belongs to no engine.

- ``addresses``: IP addresses between text and numbers; ``resolving``: names to addresses.
- ``listening``: binding, accepting and parting.
"""
