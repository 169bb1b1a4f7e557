"""What benchmarks came to: one document, and the tables, pages and charts that are made of it and of nothing else.

- ``document``: the figures, as JSON; ``environment``: where they come from; ``comparison``: who is how fast.
- ``text``, ``markdown``, ``html``, ``chart``: the same for a terminal, for documentation, for a browser, as a picture;
  ``figures``: numbers for people.
"""
