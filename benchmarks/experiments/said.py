"""What the results page says around its tables."""

HEAD = """
# Results

<!-- python -m benchmarks.experiments.page writes this page. -->
"""

SETTING = """
"""

EACH: dict[str, str] = {}
