"""What there is to choose from, by name; what each means stands in `thresholds` and `calibration`.

Apart from those, so that arguments can be checked without importing the libraries that do the work.
"""

STRATEGIES = ("fixed", "global", "per_label", "expected_f1")
METRICS = ("f1_micro", "f1_macro")
METHODS = ("none", "temperature", "platt")
