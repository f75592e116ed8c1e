"""The HTTP surface: which path is whose, who may, and what the views show."""
