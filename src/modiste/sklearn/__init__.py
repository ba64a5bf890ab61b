"""A scikit-learn classifier: ``from modiste.sklearn import ModisteClassifier``."""

from modiste.sklearn.estimator import ModisteClassifier

__all__ = ["ModisteClassifier"]
