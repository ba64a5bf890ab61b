"""The paper and its reproduction."""
